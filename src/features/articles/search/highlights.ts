import type { Database } from "../../../db/pool.ts";
import { read, textArray } from "../../../db/statements.ts";
import { isPublished } from "../rows.ts";
import type { Highlights, Range } from "./schema.ts";
import { type Word, wordsOf } from "./words.ts";

/** The body is searched for an excerpt up to here, in characters. */
const BODY_MAX = 20_000;
const EXCERPT_MAX = 240;
/** How much of an excerpt comes before the first match. */
const EXCERPT_BEFORE = 80;

/** Where the words occur in each of the articles, in the same order. */
export async function readHighlights(
  db: Database,
  ids: readonly string[],
  words: readonly string[],
): Promise<(Highlights | undefined)[]> {
  if (ids.length === 0) return [];
  const rows = await db.rows(MATCHED_TEXTS, { ids: textArray(ids), words: words.join(" "), bodyMax: BODY_MAX });
  const byId = new Map(rows.map((row) => [row.id, highlightsOf(row)]));
  // One that was deleted or withdrawn meanwhile has none.
  return ids.map((id) => byId.get(id) ?? { title: [], description: [], body: null });
}

type MatchedText = {
  id: string;
  title: string;
  tagList: string[];
  description: string;
  body: string;
  /** Numbers of words, from 1 on, in title, tags, description and body together. */
  positions: number[] | null;
};

// The index knows where each stem occurs, so nothing is parsed again.
const MATCHED_TEXTS = read<MatchedText>(
  "search_matched_texts",
  `select a.id::text, a.title, a.tag_list as "tagList", a.description, left(a.body, :bodyMax::integer) as body,
          (select array_agg(position::integer)
             from unnest(s.everything) as lexeme, unnest(lexeme.positions) as position
            -- All words from the 16,383rd on have this number.
            where position < 16383 and lexeme.lexeme = any (tsvector_to_array(to_tsvector('article', :words)))) as positions
     from articles a join article_search s on s.article_id = a.id
    where a.id = any (:ids::text[]::bigint[]) and ${isPublished("a")}`,
  "search",
);

function highlightsOf({ title, tagList, description, body, positions }: MatchedText): Highlights {
  const matched = new Set(positions ?? []);
  let before = 0;
  const rangesIn = (text: string): Range[] => {
    const words = wordsOf(text);
    const first = before;
    before += words.length;
    return joined(words.filter((_, i) => matched.has(first + i + 1)));
  };
  const inTitle = rangesIn(title);
  rangesIn(tagList.join(" "));
  return { title: inTitle, description: rangesIn(description), body: excerptOf(body, rangesIn(body)) };
}

/** The ranges of words. Characters of one phrase without spaces between them become one range. */
function joined(words: readonly Word[]): Range[] {
  const ranges: Range[] = [];
  for (const { start, end } of words) {
    const last = ranges.at(-1);
    if (last !== undefined && last.end >= start) last.end = Math.max(end, last.end);
    else ranges.push({ start, end });
  }
  return ranges;
}

/** The part of a body with its first match. */
function excerptOf(body: string, ranges: readonly Range[]): Highlights["body"] {
  const [first] = ranges;
  if (first === undefined) return null;
  const start = first.start <= EXCERPT_BEFORE ? 0 : afterSpace(body, first.start - EXCERPT_BEFORE, first.start);
  // Not between the halves of a surrogate pair.
  const text = body.slice(start, start + EXCERPT_MAX).replace(/[\ud800-\udbff]$/, "");
  return {
    text,
    ranges: ranges
      .filter(({ end }) => end <= start + text.length)
      .map((range) => ({ start: range.start - start, end: range.end - start })),
  };
}

/** The beginning of the first word between two places; the second place if there is none. */
function afterSpace(text: string, from: number, to: number): number {
  const space = text.slice(from, to).search(/\s\S/);
  return space === -1 ? to : from + space + 1;
}
