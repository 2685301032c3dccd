// npm run bench -- pages: what the second page of each list costs, and what a deep one costs. See docs/performance.md.

import { SQL } from "bun";
import { loadConfig } from "../src/config/settings.ts";
import { connectionOptions, openDatabase } from "../src/db/pool.ts";
import { listArticles, listFeed } from "../src/features/articles/lists.ts";
import type { Page } from "../src/features/articles/schema.ts";
import { listSitemap, listSitemapPages } from "../src/features/articles/sitemap.ts";
import { poolLimits } from "../src/server/server.ts";
import { openDataset } from "./dataset.ts";
import { table } from "./report.ts";

const PAGE_SIZE = 20;
/** The second page, and a deep one. In a list that is shorter, its last one. */
const PAGES = [2, 10_000];
const READER = "reader_1000";

type Read = { readonly name: string; readonly read: () => Promise<unknown>; readonly timesMs: number[] };

/** Prints the times of single reads, one after the other, through the server's pool and without its memory. */
export async function pages(articles: number, rounds: number): Promise<string> {
  const dataset = await openDataset(articles, (message) => console.error(message));
  const sql = new SQL(connectionOptions(dataset.address, 1, { statement_timeout: "0" }));
  const db = openDatabase(dataset.address, poolLimits(loadConfig({})));
  try {
    const { popularTag: tag, prolificAuthor: author } = dataset.sample;
    const [reader] = await sql`select id::text from users where username = ${READER}`;
    const lists: [name: string, articles: string, read: (page: Page) => Promise<unknown>][] = [
      ["all articles", "select published_at, id from articles", (page) => listArticles(db, null, filters(page, {}))],
      [
        "by tag",
        `select published_at, article_id as id from article_tags where tag = '${tag.replaceAll("'", "''")}'`,
        (page) => listArticles(db, null, filters(page, { tag })),
      ],
      [
        "by author",
        `select published_at, id from articles where author_id = (select id from users where username = '${author}')`,
        (page) => listArticles(db, null, filters(page, { author })),
      ],
      [
        "feed of 1,000",
        `select published_at, a.id from articles a join follows on followee_id = author_id where follower_id = ${reader.id}`,
        (page) => listFeed(db, reader.id, page),
      ],
    ];
    const reads: Read[] = [];
    for (const [name, keys, read] of lists) {
      const [{ count }] = await sql.unsafe(`select count(*)::integer from (${keys}) k`);
      for (const wanted of PAGES) {
        const page = Math.min(wanted, Math.ceil(count / PAGE_SIZE));
        const [last] = await sql.unsafe(
          `select published_at, id::text from (${keys}) k order by published_at desc, k.id desc
           limit 1 offset ${(page - 1) * PAGE_SIZE - 1}`,
        );
        const cursor = { publishedAt: last.published_at.toISOString(), id: last.id };
        const filtered = { limit: PAGE_SIZE, offset: 0, cursor };
        reads.push({ name: `${name}, page ${page.toLocaleString("en")}`, read: () => read(filtered), timesMs: [] });
      }
    }
    reads.push({ name: "sitemap, index", read: () => listSitemapPages(db), timesMs: [] });
    reads.push({ name: "sitemap, page of 5,000", read: () => listSitemap(db, 1), timesMs: [] });
    // In turns: the machine may slow down for other reasons. The first round fills PostgreSQL's memory.
    for (let round = 0; round <= rounds; round++) {
      for (const { read, timesMs } of reads) {
        const start = performance.now();
        await read();
        if (round > 0) timesMs.push(performance.now() - start);
      }
    }
    return table(
      ["", "p50, ms", "p95, ms"],
      reads.map(({ name, timesMs }) => [name, percentile(timesMs, 0.5), percentile(timesMs, 0.95)]),
    );
  } finally {
    await db.close(1_000);
    await sql.close({ timeout: 0 });
    await dataset.stop();
  }
}

const filters = (page: Page, by: { tag?: string; author?: string }) => ({
  tag: undefined,
  author: undefined,
  favorited: undefined,
  ...page,
  ...by,
});

const percentile = (values: readonly number[], share: number): string =>
  (values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] as number).toFixed(2);
