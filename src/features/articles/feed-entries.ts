import type { Database } from "../../db/pool.ts";
import { read, textArray } from "../../db/statements.ts";
import { listArticles } from "./lists.ts";
import { isPublished } from "./rows.ts";
import type { ArticlePreview } from "./schema.ts";

const ENTRIES_MAX = 20;
/** In bytes, of one entry and of all together. A longer body is left out. */
const BODY_MAX = 64 * 1024;
const BODIES_MAX = 512 * 1024;

/** An article in a feed. Its body in Markdown is null if it is too long for a feed. */
export type FeedEntry = ArticlePreview & { readonly id: string; readonly body: string | null };

/** The newest articles by tag or author, as anonymous readers see them, and the topics that they depend on. */
export async function listFeedEntries(
  db: Database,
  { tag, author }: { tag?: string | undefined; author?: string | undefined },
): Promise<{ entries: FeedEntry[]; topics: readonly string[] }> {
  const filters = { limit: ENTRIES_MAX, offset: 0, cursor: undefined, favorited: undefined, tag, author };
  const { value, ids, topics } = await listArticles(db, null, filters);
  const articleIds = ids?.favorited ?? [];
  const rows = await db.rows(FEED_BODIES, [textArray(articleIds), BODY_MAX, BODIES_MAX]);
  const bodies = new Map(rows.map(({ id, body }) => [id, body]));
  const entries = value.articles.flatMap((article, i) => {
    const id = articleIds[i] ?? "";
    const body = bodies.get(id);
    // It was deleted in between.
    return body === undefined ? [] : [{ ...article, id, body }];
  });
  return { entries, topics };
}

// PostgreSQL knows the size of a body without reading it.
const FEED_BODIES = read<{ id: string; body: string | null }>(
  "feed_bodies",
  `select id::text, case when size <= $2::bigint and total <= $3::bigint then body end as body
     from (select id, body, octet_length(body) as size,
                  sum(octet_length(body)) filter (where octet_length(body) <= $2::bigint)
                    over (order by published_at desc, id desc) as total
             from articles where id = any ($1::bigint[]) and ${isPublished("articles")}) a`,
  "slow",
);
