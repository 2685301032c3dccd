import MarkdownIt from "markdown-it";
import { inlineText, onOneLine } from "./plain-text.ts";

/** In characters. Of a longer text, only these are parsed, which takes at most a few milliseconds. */
const READ_MAX = 1_000;
const LENGTH_MAX = 200;

const markdown = new MarkdownIt({ html: true, maxNesting: 20 });

/**
 * The beginning of a text in Markdown as one line of plain text, at most 200 characters: its paragraphs, without headings, code,
 * tables, pictures and HTML. Empty if there is none.
 */
export function excerptOf(text: string): string {
  const tokens = markdown.parse(text.slice(0, READ_MAX), {});
  let line = "";
  for (const [i, { type, children }] of tokens.entries()) {
    if (type !== "inline" || tokens[i - 1]?.type !== "paragraph_open") continue;
    line += ` ${inlineText((children ?? []).filter((child) => child.type !== "image"))}`;
    if (line.length > 2 * LENGTH_MAX) break;
  }
  return cut(onOneLine(line));
}

/** At the end of a word, where there is one in the second half. Characters are code points, as in PostgreSQL. */
function cut(line: string): string {
  const characters = Array.from(line);
  if (characters.length <= LENGTH_MAX) return line;
  const start = characters.slice(0, LENGTH_MAX - 1).join("");
  const end = start.lastIndexOf(" ");
  return `${(end > start.length / 2 ? start.slice(0, end) : start).replace(/[\s,;:.]+$/, "")}…`;
}
