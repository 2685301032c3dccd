import { CONFUSABLES, SCRIPTS } from "../../../http/unicode-data.ts";

const isAscii = (text: string): boolean => /^[\0-\x7f]*$/.test(text);

/** Scripts that are written together: the "highly restrictive" level of UTS 39, 5.2. */
const COMBINATIONS = ["Latin Han Hiragana Katakana", "Latin Han Bopomofo", "Latin Han Hangul"];

/** Whether a text has letters of several scripts, beyond those that are written together (UTS 39, 5.1). */
export function mixesScripts(text: string): boolean {
  const compatible = text.normalize("NFKC");
  if (isAscii(compatible)) return false;
  return ![...COMBINATIONS, ...SCRIPTS.split(" ")].some((scripts) => isWrittenIn(scripts).test(compatible));
}

const patterns = new Map<string, RegExp>();

function isWrittenIn(scripts: string): RegExp {
  const known = patterns.get(scripts);
  if (known !== undefined) return known;
  const classes = `Common Inherited ${scripts}`.split(" ").map((script) => `\\p{Script_Extensions=${script}}`);
  const pattern = new RegExp(`^[${classes.join("")}]*$`, "u");
  patterns.set(scripts, pattern);
  return pattern;
}

/** Whether marks hide or pile up: one at the start, the same one twice in a row, or more than four (UTS 39, 5.4). */
export const hasStackedMarks = (text: string): boolean => /^\p{M}|(\p{Mn})\1|\p{Mn}{5}/u.test(text.normalize("NFD"));

/**
 * What a name looks like: names with the same skeleton are easily confused (UTS 39, 4). Usernames are equal in every letter
 * case and compatibility form, so the skeleton is too; as a capital I looks like l, i becomes l. At most 18 characters for one
 * of the name.
 */
export function skeletonOf(name: string): string {
  return prototypesOf(prototypesOf(name).normalize("NFKC").toLowerCase()).replaceAll("i", "l");
}

function prototypesOf(text: string): string {
  const visible = text.normalize("NFD").replace(/\p{Default_Ignorable_Code_Point}/gu, "");
  return Array.from(visible, (character) => PROTOTYPES.get(character) ?? character)
    .join("")
    .normalize("NFD");
}

const PROTOTYPES: ReadonlyMap<string, string> = new Map(
  CONFUSABLES.trim()
    .split("\n")
    .flatMap((line) => {
      const [prototype, characters] = line.split(":").map((part) => part.split(" ").map(fromHex));
      return (characters ?? []).map((character) => [character, (prototype ?? []).join("")] as const);
    }),
);

function fromHex(codePoint: string): string {
  return String.fromCodePoint(Number.parseInt(codePoint, 16));
}
