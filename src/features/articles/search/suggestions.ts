import type { Database } from "../../../db/pool.ts";
import { read } from "../../../db/statements.ts";
import { sameKey } from "../../identity/users/rules.ts";
import { isPublished } from "../rows.ts";
import { titleBeginning } from "./expression.ts";
import type { Suggestions, SuggestionsFilters } from "./schema.ts";

/** One letter begins too many titles. */
const TITLE_PREFIX_MIN = 2;
/** Of more words that begin as written, the shortest. */
const COMPLETIONS_MAX = 50;
/** Shorter names are like too many others. */
const SIMILAR_MIN = 4;

/**
 * What a reader may be typing: titles with these words, the last of which may be incomplete; tags and usernames that begin
 * so. Where no username does, the most similar ones.
 */
export async function suggest(db: Database, { q, limit }: SuggestionsFilters): Promise<Suggestions> {
  if (q === "") return { titles: [], tags: [], usernames: [] };
  const title = q.length < TITLE_PREFIX_MIN ? undefined : titleBeginning(q);
  const [found, names] = await Promise.all([
    title === undefined ? [] : db.rows(TITLES, { ...title, limit, wordsMax: COMPLETIONS_MAX }),
    db.row(NAMES, { tag: q, username: sameKey(q), limit }),
  ]);
  let usernames = names?.usernames ?? [];
  if (usernames.length === 0 && q.length >= SIMILAR_MIN) {
    usernames = (await db.rows(SIMILAR, [sameKey(q), limit])).map(({ username }) => username);
  }
  return { titles: found.map(({ slug, title }) => ({ slug, title })), tags: names?.tags ?? [], usernames };
}

/** SQL for whether a column begins with a text, for an index. A name has at most 50 characters. */
const begins = (column: string, prefix: string): string =>
  `${column} between ${prefix} and ${prefix} || repeat(chr(1114111), 50) and starts_with(${column}, ${prefix})`;

/** SQL for the marks of titles that have all (`&`) or one (`|`) of the words of a text; null without words. */
const inTitle = (text: string, operator: "&" | "|"): string =>
  `(select string_agg(format('''_h%s''', word), ' ${operator} ')::tsquery
      from unnest(tsvector_to_array(to_tsvector('article', ${text}))) as word)`;

// Of the newest 100 and the best loved 100, those with the most favourites. The index is asked for whole words: to merge the
// lists of all words with a prefix took 100 ms at a million articles, as a window cannot shorten them.
const TITLES = read<{ slug: string; title: string }>(
  "search_titles",
  `with q as materialized (
          select ${inTitle("completions", "|")} && coalesce(${inTitle(":first::text", "&")}, ''::tsquery) as words,
                 (select max(article_id) from article_search) as newest
            from (select string_agg(word, ' ') as completions
                    from (select :last::text as word
                           union (select word from search_words where ${begins("word", ":last")}
                                   order by char_length(word), word limit :wordsMax::bigint)) w) c)
   select a.slug, a.title from articles a
    where a.id = any (array(select unnest(search_heads(words, words, newest)) from q)) and ${isPublished("a")}
    order by a.favorites_count desc, a.id desc limit :limit::bigint`,
  "search",
);

const NAMES = read<{ tags: string[] | null; usernames: string[] | null }>(
  "search_names",
  `select (select array_agg(name order by articles_count desc, name)
             from (select name, articles_count from tags where ${begins("name", ":tag")} and articles_count > 0
                    order by articles_count desc, name limit :limit::bigint) t) as tags,
          (select array_agg(username order by username_key)
             from (select username, username_key from users where ${begins("username_key", ":username")}
                    order by username_key limit :limit::bigint) u) as usernames`,
  "search",
);

const SIMILAR = read<{ username: string }>(
  "search_similar_usernames",
  "select nearest_usernames as username from nearest_usernames($1, $2::integer)",
  "search",
);
