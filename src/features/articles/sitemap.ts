import type { Database } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";
import { isPublished } from "./rows.ts";

/** Articles have their place by id, so a page never grows beyond this, and a deletion moves no article to another page. */
export const SITEMAP_PAGE_SIZE = 5_000;

/** The most that an index may list: https://www.sitemaps.org/protocol.html */
const PAGES_MAX = 50_000;

/** A page of the sitemap, and when an article on it was last published or edited (RFC 3339). */
export type SitemapPage = { readonly page: number; readonly updatedAt: string };

/** The pages with articles, the newest first. */
export const listSitemapPages = async (db: Database): Promise<SitemapPage[]> =>
  (await db.rows(SITEMAP_PAGES, [PAGES_MAX])).map(({ page, updatedAt }) => ({
    page: Number(page),
    updatedAt: new Date(updatedAt).toISOString(),
  }));

/** The expression of the index `articles_sitemap_idx`. */
const PAGE = `(id / ${SITEMAP_PAGE_SIZE})`;

// One look-up in the index for each page, whatever is on it.
const SITEMAP_PAGES = read<{ page: string; updatedAt: string }>(
  "sitemap_pages",
  `with recursive pages as (
     (select ${PAGE} as page, updated_at from articles where ${isPublished("articles")}
       order by ${PAGE} desc, updated_at desc limit 1)
     union all
     select older.page, older.updated_at from pages cross join lateral (
       select ${PAGE} as page, updated_at from articles
        where ${PAGE} < pages.page and ${isPublished("articles")}
        order by ${PAGE} desc, updated_at desc limit 1) older)
   select page::text, updated_at as "updatedAt" from pages limit $1::bigint`,
  "slow",
);

/** The articles on a page of the sitemap, with when they were last edited (RFC 3339). */
export const listSitemap = (db: Database, page: number): Promise<{ slug: string; updatedAt: string }[]> =>
  db.rows(SITEMAP, [page * SITEMAP_PAGE_SIZE, (page + 1) * SITEMAP_PAGE_SIZE]);

const SITEMAP = read<{ slug: string; updatedAt: string }>(
  "sitemap",
  `select slug, to_char(updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "updatedAt" from articles
    where id >= $1::bigint and id < $2::bigint and ${isPublished("articles")}
    order by id`,
  "slow",
);
