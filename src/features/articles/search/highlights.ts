import type { Database } from "../../../db/pool.ts";
import { read, textArray } from "../../../db/statements.ts";
import { isPublished } from "../rows.ts";
import { excerptOf, PARSED_AFTER } from "./excerpts.ts";
import type { Highlights, Range } from "./schema.ts";
import { eachWord, type Word } from "./words.ts";

/** The body is searched for an excerpt up to here, in characters. */
const BODY_MAX = 20_000;

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
  const matched = new Set(positions);
  const last = (positions ?? []).reduce((a, b) => Math.max(a, b), 0);
  let number = 0;
  /** @param lengthMax how many characters from the first match on are of interest */
  const rangesIn = (text: string, lengthMax = Number.POSITIVE_INFINITY): Range[] => {
    if (number >= last) return [];
    const words: Word[] = [];
    for (const word of eachWord(text)) {
      if (words[0] !== undefined && word.start > words[0].start + lengthMax) break;
      number++;
      if (matched.has(number)) words.push(word);
    }
    return joined(words);
  };
  const inTitle = rangesIn(title);
  rangesIn(tagList.join(" "));
  return { title: inTitle, description: rangesIn(description), body: excerptOf(body, rangesIn(body, PARSED_AFTER)) };
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
