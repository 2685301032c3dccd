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
  [/\b(is|are|was) over\b/i, "has expired, has ended"],
  [/\bgo(es)? on\b/i, "continues"],
  [/\btold\b/i, "notified, reported"],
  [/\blanes?\b/i, "pool, queue"],
  [/\b(its|their|your|in) turns?\b/i, "pool, queue, connection; one after the other"],
  [/\banswer(s|ed|ing)?\b/i, "response, respond, return"],
  [/\bwhole backup\b/i, "complete backup"],
  [/\banother history\b/i, "different migrations"],
  [/\bis of a newer\b/i, "belongs to a newer version"],
  [/\bmails\b(?!\()/i, "emails"],
  [/\b(a|one|each|every|this|the last) mail\b(?! (server|catcher|scanner|queue))/i, "an email"],
  [/\blog(s|ged|ging)? (in|out)\b/i, "sign in, sign out"],
  [/(?<!-)\bconfirm(s|ed|ing|ation)?\b/i, "verify"],
  [/\bnot right\b/i, "invalid"],
  [/\bno longer counts\b|\bcounts? no more\b|\bcounting any more\b/i, "is revoked"],
  [/\bwaited too long\b/i, "timed out"],
  [/\bin a circle\b/i, "deadlock"],
  [/\bit is: /i, "Usage:"],
  [/\b(is|are|was|were) (told|asked)\b/i, "is notified, reports, requests"],
  [/\bwho asks\b/i, "the caller"],
  [/\bby and by\b/i, "later, gradually"],
  [/\bin vain\b/i, "without success"],
  [/\blets? (us|you|them|this machine|.{1,20}\bowner) in\b/i, "accepts the connection"],
];

/** Files that contain these words on purpose: the glossary, and the articles of the demonstration content. */
const EXCEPTIONS = /^(STYLE\.md$|src\/seed\/)/;

/** Public texts with an expression that STYLE.md rejects: string literals of src and packages, ops, and the documentation. */
export async function checkPhrases(): Promise<string[]> {
  const problems: string[] = [];
  for (const file of filesOf(
    "*.md",
    "{docs,packages,.github}/**/*.md",
    "{src,packages}/**/*.{ts,tsx,client.js}",
    "ops/**/*.yml",
  )) {
    // Decisions are history, and test titles are not public.
    if (/\/test\/|^docs\/decisions\/0/.test(file) || EXCEPTIONS.test(file)) continue;
    const source = await textOf(file);
    const texts = /\.(md|yml)$/.test(file)
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
