/** A word as it is indexed, and the part of the text that it comes from, in UTF-16 units. */
export type Word = { readonly word: string; readonly start: number; readonly end: number };

/** What is indexed of a text, in characters: a vector of PostgreSQL has at most 1 MiB. */
export const INDEXED_MAX = 100_000;

/** A longer run of letters is not language. */
const WORD_MAX = 50;

/**
 * The words of a text, in order, for the index and for queries alike: letters and digits alone, in lower case, without
 * accents. PostgreSQL's own parser would take time that grows with the square of `@a@a@a…`, and index a path or an address
 * as one word.
 *
 * In scripts that put no spaces between words, each character is a word, and a query of several is a phrase.
 */
export const wordsOf = (text: string): Word[] => [...eachWord(text)];

/** The same one by one, for who does not need them all. */
export function* eachWord(text: string): Generator<Word, void> {
  let length = 0;
  for (const match of text.slice(0, INDEXED_MAX).matchAll(WORD)) {
    const [start, end] = [match.index, match.index + match[0].length];
    for (const word of plain(match[0])) {
      yield { word, start, end };
      length += word.length + 1;
    }
    if (length > INDEXED_MAX) break;
  }
}

/** The cleaned text, as it goes to PostgreSQL. */
export const cleaned = (text: string): string =>
  wordsOf(text)
    .map(({ word }) => word)
    .join(" ");

const UNSPACED =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";

// `C++`, `C#` and `.NET` are names, not a letter with punctuation.
const WORD = new RegExp(
  [
    "(?<![\\p{L}\\p{N}])(?:[A-Za-z]\\+\\+|[A-Za-z]#(?![\\p{L}\\p{N}])|\\.[Nn][Ee][Tt](?![\\p{L}\\p{N}]))",
    `[${UNSPACED}]\\p{M}*`,
    `[[\\p{L}\\p{N}\\p{M}]--[${UNSPACED}]]+`,
  ].join("|"),
  "gv",
);

/** The plain forms of what `WORD` matches. One character may stand for several words, as `㍿` does. */
function plain(written: string): string[] {
  if (/^[a-z0-9]+$/.test(written)) return [written.slice(0, WORD_MAX)];
  const named = written.toLowerCase().replace("++", "plusplus").replace("#", "sharp").replace(".", "dot");
  return (
    (
      named
        .normalize("NFKD")
        // Accents of Latin, Greek and Cyrillic. Other marks are vowels.
        .replace(/[\u0300-\u036f]/g, "")
        .normalize("NFC")
        .match(PLAIN) ?? []
    ).map((word) => word.toLowerCase().slice(0, WORD_MAX))
  );
}

const PLAIN = new RegExp(`[${UNSPACED}]\\p{M}*|[[\\p{L}\\p{N}\\p{M}]--[${UNSPACED}]]+`, "gv");
