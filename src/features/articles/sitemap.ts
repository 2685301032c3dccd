import type { Database } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";
import { isPublished } from "./rows.ts";

/** Articles have their place by id, so a page never grows beyond this, and a deletion moves no article to another page. */
export const SITEMAP_PAGE_SIZE = 5_000;

/** The most that an index may list: https://www.sitemaps.org/protocol.html */
const PAGES_MAX = 50_000;

/** The pages with articles, the newest first, with when something on them was last published or edited. */
export const listSitemapPages = (db: Database): Promise<SitemapPage[]> => db.rows(SITEMAP_PAGES, [PAGES_MAX]);

type SitemapPage = { readonly page: number; readonly updatedAt: Date };

/** The expression of the index `articles_sitemap_idx`. */
const PAGE = `(id / ${SITEMAP_PAGE_SIZE})`;

// One look-up in the index for each page, however many articles are on it.
const SITEMAP_PAGES = read<SitemapPage>(
  "sitemap_pages",
  `with recursive pages as (
     (select ${PAGE} as page, updated_at from articles where ${isPublished("articles")}
       order by ${PAGE} desc, updated_at desc limit 1)
     union all
     select older.page, older.updated_at from pages cross join lateral (
       select ${PAGE} as page, updated_at from articles
        where ${PAGE} < pages.page and ${isPublished("articles")}
        order by ${PAGE} desc, updated_at desc limit 1) older)
   select page::double precision, updated_at as "updatedAt" from pages limit $1::bigint`,
  "slow",
);

/** The articles on a page of the sitemap, with when they were published or last edited. */
export const listSitemap = (db: Database, page: number): Promise<SitemapArticle[]> =>
  db.rows(SITEMAP, [page * SITEMAP_PAGE_SIZE, (page + 1) * SITEMAP_PAGE_SIZE]);

type SitemapArticle = { readonly slug: string; readonly updatedAt: Date };

const SITEMAP = read<SitemapArticle>(
  "sitemap",
  `select slug, updated_at as "updatedAt" from articles
    where id >= $1::bigint and id < $2::bigint and ${isPublished("articles")}
    order by id`,
  "slow",
);
