import anyAscii from "any-ascii";
import { isBlank } from "../../http/characters.ts";

/** Leaves room for a suffix below the 120 characters of the schema. */
const BASE_LENGTH_MAX = 100;
export const SUFFIX_LENGTH = 8;

/**
 * The readable part of an article's path: the title in ASCII letters, digits and single hyphens, 1 to 100 characters,
 * from any script (any-ascii's transliteration: "Привет" is "privet", "你好" is "nihao").
 */
export function slugBase(title: string): string {
  // Cut first: transliteration takes time in proportion, and a letter may become several.
  const ascii = anyAscii(title.slice(0, 4 * BASE_LENGTH_MAX))
    .toLowerCase()
    // "don't" is one word.
    .replaceAll("'", "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  if (ascii.length <= BASE_LENGTH_MAX) return ascii || "article";
  const cut = ascii.slice(0, BASE_LENGTH_MAX + 1);
  // At the end of a word, where there is one in the second half.
  const end = cut.lastIndexOf("-");
  return end > BASE_LENGTH_MAX / 2 ? cut.slice(0, end) : ascii.slice(0, BASE_LENGTH_MAX);
}

/** The path of an article whose base is taken: the base and 8 random letters and digits (2.8 × 10¹² of them). */
export function slugWithSuffix(base: string): string {
  const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
  // 252 is the largest multiple of 36 in a byte: above it the first letters would be likelier.
  let suffix = "";
  while (suffix.length < SUFFIX_LENGTH) {
    for (const byte of crypto.getRandomValues(new Uint8Array(SUFFIX_LENGTH))) {
      if (byte < 252 && suffix.length < SUFFIX_LENGTH) suffix += alphabet[byte % 36];
    }
  }
  return `${base}-${suffix}`;
}

/** A title's tags as they are kept: trimmed, in order, each once, none blank. */
export function normaliseTags(tags: readonly string[]): string[] {
  return [...new Set(tags.map((tag) => tag.trim()))].filter((tag) => !isBlank(tag));
}
