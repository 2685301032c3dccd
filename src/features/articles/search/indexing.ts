import type { Database, Queries } from "../../../db/pool.ts";
import { read, textArray, write } from "../../../db/statements.ts";
import type { Log } from "../../../observability/log.ts";
import { isPublished } from "../rows.ts";
import { cleaned, INDEXED_MAX, wordsOf } from "./words.ts";

/** How often an idle server looks for articles to index. An article is found at most about this long after its publication. */
const POLL_INTERVAL_MS = 250;
const RETRY_DELAY_MS = 5_000;
const BATCH = 50;
/** While requests use the database, indexing rests this many times as long as it works. */
const PAUSE_FACTOR = 3;
/** In characters: cleaning and indexing that many takes less than 0.1 s. */
const TEXT_AT_ONCE = 200_000;

/**
 * Indexes what was published, edited, deleted or favourited, until stopped. Any number of servers may do so: one of them
 * works at a time. `stop` waits at most `timeoutMs` for the articles in work, which otherwise stay in the queue. Polls, because a notification would put all commits of publications in a queue.
 */
export function startIndexing(db: Database, log: Log): { stop(timeoutMs: number): Promise<void> } {
  let isStopping = false;
  const { promise: stopping, resolve: stop } = Promise.withResolvers<void>();
  const pause = (ms: number) => Promise.race([Bun.sleep(ms), stopping]);

  async function keepIndexing(): Promise<void> {
    let hasFailed = false;
    while (!isStopping) {
      try {
        const started = performance.now();
        const indexed = await indexNext(db);
        hasFailed = false;
        if (indexed < BATCH) await pause(POLL_INTERVAL_MS);
        else if (isBusy(db)) await pause(PAUSE_FACTOR * (performance.now() - started));
      } catch (error) {
        // Once for an outage, as the queue keeps what is to be done.
        if (!hasFailed && !isStopping) log.warn({ err: error }, "could not index articles for search; trying again");
        hasFailed = true;
        await pause(RETRY_DELAY_MS);
      }
    }
  }

  const running = keepIndexing();
  return {
    async stop(timeoutMs) {
      isStopping = true;
      stop();
      await Promise.race([running, Bun.sleep(timeoutMs)]);
    },
  };
}

const isBusy = (db: Database): boolean => Object.values(db.state()).some(({ inUse }) => inUse > 0);

/** Indexes the articles that have waited shortest. Returns how many entries of the queue it took; 0 also if another server works. */
export async function indexNext(db: Database): Promise<number> {
  const waiting = await db.row(QUEUE_HAS_ENTRIES, []);
  if (waiting === undefined) return 0;
  return await db.transaction(async (tx) => {
    // Not two at a time: the slower one could replace a newer version of an article with an older one.
    if (!(await tx.row(LOCK_INDEX, []))?.locked) return 0;
    const taken = await tx.rows(TAKE_ENTRIES, [BATCH]);
    // Read by another statement, so it sees at least the versions that the entries are about.
    await indexArticles(tx, [...new Set(taken.map(({ articleId }) => articleId))]);
    return taken.length;
  });
}

const QUEUE_HAS_ENTRIES = read("search_queue_has_entries", "select 1 from search_queue limit 1");

const LOCK_INDEX = write<{ locked: boolean }>(
  "search_lock_index",
  "select pg_try_advisory_xact_lock(hashtextextended('conduit search index', 0)) as locked",
);

// The latest first: a publication does not wait for thousands of older articles, which an upgrade or a restore enqueues.
const TAKE_ENTRIES = write<{ articleId: string }>(
  "search_take_entries",
  `delete from search_queue where id in (select id from search_queue order by id desc limit $1::bigint)
   returning article_id::text as "articleId"`,
);

/** At the end of a restore, as the index is not in a backup. The newest get the highest numbers, and are indexed first. */
export const QUEUE_ALL = write(
  "search_queue_all",
  "insert into search_queue (article_id) select id from articles where status = 'published' order by id",
);

/** Brings the index up to date for these articles. Those that are deleted, or not published, cannot be found afterwards. */
export async function indexArticles(tx: Queries, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const articles = await tx.rows(ARTICLES_TO_INDEX, [textArray(ids), INDEXED_MAX]);
  const found = new Set(articles.map(({ id }) => id));
  const gone = ids.filter((id) => !found.has(id));
  if (gone.length > 0) await tx.rows(UNINDEX, [textArray(gone)]);

  const words = new Set<string>();
  let rows: object[] = [];
  let length = 0;
  for (const article of articles) {
    for (const word of wordsIn(article)) words.add(word);
    const row = rowOf(article);
    rows.push(row);
    length += row.body.length;
    if (length < TEXT_AT_ONCE) continue;
    await tx.rows(INDEX, [JSON.stringify(rows)]);
    [rows, length] = [[], 0];
  }
  if (rows.length > 0) await tx.rows(INDEX, [JSON.stringify(rows)]);
  if (words.size > 0) await tx.rows(ADD_WORDS, [textArray([...words].sort())]);
}

type ArticleToIndex = {
  id: string;
  authorId: string;
  title: string;
  tagList: string[];
  description: string;
  body: string;
  favoritesCount: number;
};

const ARTICLES_TO_INDEX = read<ArticleToIndex>(
  "search_articles_to_index",
  `select id::text, author_id::text as "authorId", title, tag_list as "tagList", description, left(body, $2::integer) as body,
          favorites_count as "favoritesCount"
     from articles a where id = any ($1::text[]::bigint[]) and ${isPublished("a")}`,
);

const UNINDEX = write("search_unindex", "delete from article_search where article_id = any ($1::text[]::bigint[])");

/** Words that a reader may be typing, or may have meant. */
const wordsIn = ({ title, tagList }: ArticleToIndex): string[] =>
  [title, ...tagList].flatMap((text) =>
    wordsOf(text)
      .map(({ word }) => word)
      .filter((word) => word.length >= 2 && word.length <= 30),
  );

function rowOf({ id, authorId, title, tagList, description, body, favoritesCount }: ArticleToIndex) {
  const ages = [11n, 14n, 17n].map((level) => `_w${level}_${BigInt(id) >> level}`);
  const digits = String(favoritesCount).length;
  const favorites = Array.from({ length: digits - 1 }, (_, i) => `_f${i + 2}`);
  return {
    id,
    title: cleaned(title),
    tags: cleaned(tagList.join(" ")),
    description: cleaned(description),
    body: cleaned(body),
    marks: [...ages, ...favorites, `_a${authorId}`, ...tagList.map((tag) => `_t${tag}`)],
  };
}

// Positions of words count on from title to tags, description and body, as `highlightsOf` expects.
const INDEX = write(
  "search_index",
  `insert into article_search (article_id, head, everything)
   select id, head || marks || title_marks, head || to_tsvector('article', body) || marks
     from (select id, body, array_to_tsvector(marks) as marks,
                  array_to_tsvector(array(select '_h' || word from unnest(tsvector_to_array(in_title)) as word)) as title_marks,
                  setweight(in_title, 'A') || setweight(to_tsvector('article', tags), 'B')
                    || setweight(to_tsvector('article', description), 'C') as head
             from json_to_recordset($1::text::json)
               as r (id bigint, title text, tags text, description text, body text, marks text[]),
                  to_tsvector('article', title) as in_title) r
   on conflict (article_id) do update set head = excluded.head, everything = excluded.everything`,
);

const ADD_WORDS = write(
  "search_add_words",
  "insert into search_words (word) select unnest($1::text[]) on conflict do nothing",
);
