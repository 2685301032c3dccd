import { plainText } from "../../../markup/plain-text.ts";
import type { Highlights, Range } from "./schema.ts";

const LENGTH_MAX = 240;
/** How much of an excerpt comes before the first match. */
const BEFORE_MATCH = 80;

/** How much Markdown around the first match is parsed, in characters. Marks and addresses take their share of it. */
const PARSED_BEFORE = 160;
export const PARSED_AFTER = 360;

/**
 * The part of a body in Markdown with its first match, as plain text. Null if readers see no text there.
 * @param ranges the matched words in the body, in order
 */
export function excerptOf(body: string, ranges: readonly Range[]): Highlights["body"] {
  const [first] = ranges;
  if (first === undefined) return null;
  const from = beginning(body, first.start);
  const passage = plainText(fenceAround(body, from) + withMarks(body, ranges, from, first.start + PARSED_AFTER));
  const matches = withoutMarks(passage);
  return matches.text === "" ? null : cut(matches);
}

/** Where to begin to parse: at a paragraph or sentence if one begins not far before the match, as few marks reach over its end. */
function beginning(body: string, match: number): number {
  if (match <= PARSED_BEFORE) return 0;
  const start = match - PARSED_BEFORE;
  const end = /\n\s*\n|[.!?]\s+/.exec(body.slice(start, match));
  return end === null ? afterSpace(body, start, match) : start + end.index + end[0].length;
}

/** The line that began the block of code in which a place is; empty if it is in none (CommonMark, 4.5). */
function fenceAround(body: string, place: number): string {
  const fences = body.slice(0, place).match(/^ {0,3}(?:```|~~~)/gm) ?? [];
  return fences.length % 2 === 1 ? `${fences.at(-1)}\n` : "";
}

/** Characters that no text has, and that are letters to Markdown, so they can be around a word wherever it is. */
const [OPEN, CLOSE] = ["\ufdd0", "\ufdd1"];
const MARKS = /[\ufdd0\ufdd1]/g;

function withMarks(body: string, ranges: readonly Range[], from: number, to: number): string {
  const text = (start: number, end: number) => body.slice(start, end).replace(MARKS, " ");
  let marked = "";
  let place = from;
  for (const { start, end } of ranges) {
    if (end > to) break;
    marked += text(place, start) + OPEN + text(start, end) + CLOSE;
    place = end;
  }
  return marked + text(place, to);
}

/** The text, and the ranges between marks. A word is either taken out with both of its marks or has both. */
function withoutMarks(marked: string): { text: string; ranges: Range[] } {
  let text = "";
  const ranges: Range[] = [];
  for (const [i, part] of marked.split(MARKS).entries()) {
    if (i % 2 === 1) ranges.push({ start: text.length, end: text.length + part.length });
    text += part;
  }
  return { text, ranges };
}

function cut({ text, ranges }: { text: string; ranges: readonly Range[] }): { text: string; ranges: Range[] } {
  // Words within an address are matched, but not shown.
  const match = ranges[0]?.start ?? 0;
  const start = match <= BEFORE_MATCH ? 0 : afterSpace(text, match - BEFORE_MATCH, match);
  // Not between the halves of a surrogate pair.
  const excerpt = text.slice(start, start + LENGTH_MAX).replace(/[\ud800-\udbff]$/, "");
  return {
    text: excerpt,
    ranges: ranges
      .filter(({ end }) => end <= start + excerpt.length)
      .map((range) => ({ start: range.start - start, end: range.end - start })),
  };
}

/** The beginning of the first word between two places; the second place if there is none. */
function afterSpace(text: string, from: number, to: number): number {
  const space = text.slice(from, to).search(/\s\S/);
  return space === -1 ? to : from + space + 1;
}
