import { wordsOf } from "./words.ts";

/** Terms and words beyond these are ignored. */
const TERMS_MAX = 8;
const WORDS_MAX = 32;

/** A word, or several in a row. */
type Term = { readonly words: readonly string[]; readonly isExcluded: boolean };

/** What a reader searches for: articles with all terms of one of the alternatives. */
export type Search = readonly (readonly Term[])[];

/**
 * Reads a query as web searches do: all words, `"a phrase"`, `-excluded`, `one or another`, where `or` binds less than a
 * space. A word with punctuation, such as `node.js`, is a phrase. Everything has a meaning, so there is no error. Alternatives
 * that only exclude are left out: without a remaining one, nothing is searched for.
 */
export function parseSearch(q: string): Search {
  const alternatives: Term[][] = [[]];
  let [terms, words] = [0, 0];
  for (const [, minus, quoted, word = ""] of q.matchAll(/(-)?(?:"([^"]*)"?|([^\s"]+))/g)) {
    if (word.toLowerCase() === "or" && minus === undefined) {
      alternatives.push([]);
      continue;
    }
    const found = wordsOf(quoted ?? word).map((one) => one.word);
    if (found.length === 0) continue;
    terms++;
    words += found.length;
    if (terms > TERMS_MAX || words > WORDS_MAX) break;
    alternatives.at(-1)?.push({ words: found, isExcluded: minus !== undefined });
  }
  return alternatives.filter((all) => all.some(({ isExcluded }) => !isExcluded));
}

/**
 * The search as text for `to_tsquery`.
 * @param weights the parts of an article in which words must be: `A` title, `B` tags, `C` description; by default anywhere
 */
export const exactly = (search: Search, weights = ""): string =>
  expression(search, ({ words }) => `(${words.map((word) => operand(word, weights)).join(" <-> ")})`);

/** The same without the order of words, which the index does not know. It matches all that `exactly` matches, and more. */
export const roughly = (search: Search): string =>
  expression(
    search.map((all) => all.filter(({ isExcluded, words }) => !isExcluded || words.length === 1)),
    ({ words }) => `(${words.map((word) => operand(word)).join(" & ")})`,
  );

/** Beyond these, more words cost more than they exclude. */
const LONGEST_MAX = 3;

/** The longest words of each alternative, which are seldom the commonest ones. It matches all that `roughly` matches, and more. */
export const longest = (search: Search): string =>
  search
    .map((all) =>
      wordsToFind([all])
        .sort((a, b) => b.length - a.length)
        .slice(0, LONGEST_MAX)
        .map((word) => operand(word))
        .join(" & "),
    )
    .join(" | ");

function expression(search: Search, textOf: (term: Term) => string): string {
  const all = (terms: readonly Term[]) =>
    `(${terms.map((term) => `${term.isExcluded ? "!" : ""}${textOf(term)}`).join(" & ")})`;
  return search.map(all).join(" | ");
}

/** What a reader is typing: titles must have the first words, and one that begins with the last. Undefined without words. */
export function titleBeginning(q: string): { first: string; last: string } | undefined {
  const words = wordsOf(q)
    .slice(0, TERMS_MAX)
    .map(({ word }) => word);
  const last = words.pop();
  return last === undefined ? undefined : { first: words.join(" "), last };
}

const operand = (word: string, weights = ""): string => `'${word}'${weights === "" ? "" : `:${weights}`}`;

/** The words that matches contain. */
export const wordsToFind = (search: Search): string[] => [
  ...new Set(search.flat().flatMap(({ isExcluded, words }) => (isExcluded ? [] : words))),
];

/** The search as a reader would write it, with words replaced. */
export const written = (search: Search, replacements: ReadonlyMap<string, string>): string =>
  search
    .map((all) =>
      all
        .map(({ words, isExcluded }) => {
          const text = words.map((word) => replacements.get(word) ?? word).join(" ");
          return `${isExcluded ? "-" : ""}${words.length > 1 ? `"${text}"` : text}`;
        })
        .join(" "),
    )
    .join(" or ");
