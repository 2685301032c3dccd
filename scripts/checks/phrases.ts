import { filesOf, textOf } from "./files.ts";

/** Each expression with its replacement. STYLE.md has the whole glossary. */
const REJECTED: readonly [phrase: RegExp, instead: string][] = [
  [/\bunder way\b/i, "in flight, running"],
  // The account "nobody" of Unix is a name.
  [/\bnobody\b(?!")/i, "anonymous, or name the actor"],
  [/\bthe own\b/i, "your, the current"],
  [/\bone's own\b/i, "your own"],
  [/\bfaults?\b/i, "error, problem"],
  [/\bmake it none\b/i, "unfavorite, reset"],
  [/\bbegin anew\b/i, "reset, restart"],
  [/\bis over\b/i, "has expired, has ended"],
  [/\bnot right\b/i, "invalid"],
  [/\bno longer counts\b|\bcounts? no more\b|\bcounting any more\b/i, "is revoked"],
  [/\bwaited too long\b/i, "timed out"],
  [/\bin a circle\b/i, "deadlock"],
  [/\bit is: /i, "Usage:"],
  [/\b(is|are|was|were) (told|asked)\b/i, "is notified, reports, requests"],
  [/\bwho asks\b/i, "the caller"],
  [/\bby and by\b/i, "later, gradually"],
  [/\bin vain\b/i, "without success"],
  [/\banswer(s|ed)? (with )?[1-5][0-9x]{2}\b/i, "returns, responds with"],
  [/\blets? (us|you) in\b/i, "accepts the connection"],
];

/** Files that contain these words on purpose: the glossary, and the vocabulary of load-test data. */
const EXCEPTIONS = new Set(["STYLE.md", "src/seed/words.ts"]);

/** Public texts with an expression that STYLE.md rejects: string literals of src and packages, and the documentation. */
export async function checkPhrases(): Promise<string[]> {
  const problems: string[] = [];
  for (const file of filesOf("*.md", "{docs,packages,.github}/**/*.md", "{src,packages}/**/*.{ts,tsx}")) {
    // Decisions are history, and test titles are not public.
    if (/\/test\/|^docs\/decisions\/0/.test(file) || EXCEPTIONS.has(file)) continue;
    const source = await textOf(file);
    const texts = file.endsWith(".md")
      ? source.split("\n").map((text, i) => ({ text, line: i + 1 }))
      : publicTexts(source, file.endsWith(".tsx"));
    for (const { text, line } of texts) {
      for (const [phrase, instead] of REJECTED) {
        const found = phrase.exec(text)?.[0];
        if (found !== undefined) problems.push(`${file}:${line} "${found}": write ${instead}`);
      }
    }
  }
  return problems;
}

/**
 * The string and template literals of a source file, and the text between JSX tags. A scanner instead of a parser: it
 * takes a quote inside a regular expression for a string, which can only lead to a false alarm.
 */
export function publicTexts(source: string, isJsx: boolean): { text: string; line: number }[] {
  const literal = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`/;
  const jsxText = /(?<!=)>[^<>{}();=`"]*[a-z][^<>{}();=`"]*(?=[<{])/;
  const token = new RegExp(isJsx ? `${literal.source}|${jsxText.source}` : literal.source, "g");
  const texts: { text: string; line: number }[] = [];
  let line = 1;
  let at = 0;
  for (const match of source.matchAll(token)) {
    line += source.slice(at, match.index).split("\n").length - 1;
    at = match.index;
    if (!match[0].startsWith("/*") && !match[0].startsWith("//")) texts.push({ text: match[0].slice(1), line });
  }
  return texts;
}

if (import.meta.main) for (const problem of await checkPhrases()) console.log(problem);
