import { JOINS_NEXT, JOINS_PREVIOUS } from "./unicode-data.ts";

/**
 * A character class: control, format, private-use and unassigned characters, line and paragraph separators, default-ignorable
 * code points, and the characters with an empty glyph that have none of these properties.
 */
const UNSEEN = String.raw`\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\u{13441}\u{13442}\u{16fe4}\u{1d159}`;

const VISIBLE = new RegExp(String.raw`[^\s\p{Z}${UNSEEN}]`, "u");
const INVISIBLE = new RegExp(`[${UNSEEN}]`, "u");

/** Whether a text has no visible character. */
export const isBlank = (text: string): boolean => !VISIBLE.test(text);

/** A text without its invisible characters, also those that a script or an emoji needs. */
export const withoutInvisible = (text: string): string => text.replace(new RegExp(INVISIBLE, "gu"), "");

const MARKS = String.raw`[\p{Mn}\p{Me}]*`;
/** ZWNJ between letters that would join (UTS 39, 3.1.1.1, A1; RFC 5892, A.1). */
const UNJOINED = new RegExp(String.raw`(?<=[${JOINS_NEXT}]${MARKS})\u200c(?=${MARKS}[${JOINS_PREVIOUS}])`, "gu");
/** ZWNJ between a conjunct's letters, and ZWJ after a virama (UTS 39, 3.1.1.1, A2 and B; RFC 5892, A.1 and A.2). */
const AFTER_MARK = /(?<=\p{L}\p{M}*(\p{M}))(?:\u200c(?=\p{M}*\p{L})|\u200d(?!\p{M}))/gu;
/** With the joiners, selectors and tags inside them (UTS 51). */
const EMOJI = /\p{RGI_Emoji}/gv;

/**
 * Whether a name has an invisible character. Characters that are part of an emoji, and ZWJ and ZWNJ where a script needs
 * them, are none. Takes quadratic time.
 */
export function hasInvisible(name: string): boolean {
  const rest = name
    .replace(EMOJI, "")
    .replace(UNJOINED, "")
    .replace(AFTER_MARK, (joiner, mark) => (isVirama(mark) ? "" : joiner));
  return INVISIBLE.test(rest);
}

/**
 * Whether a mark is a virama (Canonical_Combining_Class 9), which JavaScript has no property for: normalization sorts it
 * before a mark of class 10 and after one of class 8.
 */
function isVirama(mark: string): boolean {
  const [class8, class10] = ["\u3099", "\u05b0"];
  if (mark === class8 || mark === class10) return false;
  return (class10 + mark).normalize("NFD") === mark + class10 && (mark + class8).normalize("NFD") === class8 + mark;
}

/** Embeddings, overrides and isolates (UAX 9, 2): they reorder text, and what follows it if they are not closed. */
export const changesDirection = (text: string): boolean => /[\u202a-\u202e\u2066-\u2069]/.test(text);
