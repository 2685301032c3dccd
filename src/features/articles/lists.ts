import type { Database } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { read } from "../../db/statements.ts";
import { userMissing } from "../identity/guards.ts";
import { sameKey } from "../identity/users/rules.ts";
import { readForViewer, rowsForViewer, VIEWER, type Viewer, type ViewerRead, viewerGone } from "../profiles/viewer.ts";
import { articlesByKeys, type PreviewRow, previewOf } from "./rows.ts";
import type { ArticleList, ListFilters, Page } from "./schema.ts";

/** Articles by tag, author and the user who favourited them, newest first, with the number of all matches. */
export async function listArticles(
  db: Database,
  viewerId: string | null,
  { limit, offset, tag, author, favorited }: ListFilters,
): Promise<ArticleList & { viewerGone: boolean }> {
  const values = {
    ...(tag === undefined ? {} : { tag }),
    ...(author === undefined ? {} : { author: sameKey(author) }),
    ...(favorited === undefined ? {} : { favorited: sameKey(favorited) }),
  };
  const statement = listBy(FILTERS.filter((filter) => filter in values));
  return listOf(await rowsForViewer(db, statement, viewerId, { limit, offset, ...values }));
}

/** Articles by authors whom the viewer follows, newest first, with the number of all. Throws 401. */
export async function listFeed(db: Database, viewerId: string, { limit, offset }: Page): Promise<ArticleList> {
  const { viewerGone, ...list } = listOf(await db.rows(FEED, { limit, offset, viewerId }));
  if (viewerGone) throw userMissing();
  return list;
}

/** One row per article; a single row without an article if the page is empty. */
type ListRow = { articlesCount: number; viewerGone: boolean } & LeftJoined<PreviewRow>;

function listOf(rows: ListRow[]): ArticleList & { viewerGone: boolean } {
  const [first] = rows;
  if (first === undefined) throw new Error("a list returned no row");
  return {
    articles: rows.flatMap((row) => (row.slug === null ? [] : [previewOf(row)])),
    articlesCount: first.articlesCount,
    viewerGone: first.viewerGone,
  };
}

/**
 * The statement of a list: first the keys of the page, from an index that has them sorted, then the articles of these keys
 * alone. Its parameters are `:limit`, `:offset`, and those of the parts.
 * @param parts.count SQL for the number of all matches; null is 0
 * @param parts.keys a query for the keys (published_at, id) of all matches
 * @param parts.followed a common table expression for both
 */
function listText(viewer: Viewer, { count, keys, followed }: { count: string; keys: string; followed?: string }) {
  return `with ${followed === undefined ? "" : `followed as materialized (${followed}),`}
     matches as materialized (select coalesce((${count}), 0)::integer as count),
     page as materialized (
       ${keys}
        order by published_at desc, id desc
        -- A page past the end is empty: the count says so, without a walk to the end.
        limit case when :offset::bigint < (select count from matches) then :limit::bigint else 0 end
       offset :offset::bigint)
   select matches.count as "articlesCount", ${viewerGone(viewer)}, article.*
     from matches left join (${articlesByKeys(viewer, "page")}) on true
    order by page.published_at desc, page.id desc`;
}

/** In this order in the names of statements. */
const FILTERS = ["tag", "author", "favorited"] as const;
type Filter = (typeof FILTERS)[number];

/** A table with a row for each article that may be in a list, and an index that has these rows in the order of lists. */
type Source = { readonly table: string; readonly publishedAt: string; readonly id: string };
const ARTICLES: Source = { table: "articles", publishedAt: "published_at", id: "id" };
const ARTICLE_TAGS: Source = { table: "article_tags", publishedAt: "published_at", id: "article_id" };
const FAVORITES: Source = { table: "favorites", publishedAt: "article_published_at", id: "article_id" };

/** The narrowest source for a set of filters: a person has fewer favourites than a tag has articles. */
function sourceFor(filters: readonly Filter[]): Source {
  if (filters.includes("favorited")) return FAVORITES;
  return filters.includes("tag") ? ARTICLE_TAGS : ARTICLES;
}

const userNamed = (parameter: string): string => `(select id from users where username_key = ${parameter})`;

/** What each filter requires of a row `s` of the source. */
const PREDICATES: Readonly<Record<Filter, (source: Source) => string>> = {
  tag: (source) =>
    source === ARTICLE_TAGS
      ? "s.tag = :tag"
      : `exists (select from article_tags t
           where t.tag = :tag and t.published_at = s.${source.publishedAt} and t.article_id = s.${source.id})`,
  author: () => `s.author_id = ${userNamed(":author")}`,
  favorited: () => `s.user_id = ${userNamed(":favorited")}`,
};

/** Counts that are maintained (migrations/README.md), by the filters joined with "_". Other matches are counted. */
const MAINTAINED_COUNTS: Readonly<Record<string, string>> = {
  // By their keys: the rows are spread over many pages after busy hours, and the index finds them faster than a scan.
  "": "select sum(articles_count) from article_totals where slot between 0 and 31",
  tag: "select articles_count from tags where name = :tag",
  author: `select articles_count from author_counts where user_id = ${userNamed(":author")}`,
};

const lists = new Map<string, ViewerRead<ListRow>>();

/** The statement for a set of filters, in the order of `FILTERS`. It is made once. */
function listBy(filters: readonly Filter[]): ViewerRead<ListRow> {
  const key = filters.join("_");
  let list = lists.get(key);
  if (list === undefined) {
    const source = sourceFor(filters);
    const where = filters.map((filter) => PREDICATES[filter](source)).join(" and ") || "true";
    const matches = `from ${source.table} s where ${where}`;
    list = readForViewer(key === "" ? "articles_all" : `articles_by_${key}`, (viewer) =>
      listText(viewer, {
        count: MAINTAINED_COUNTS[key] ?? `select count(*) ${matches}`,
        keys: `select s.${source.publishedAt} as published_at, s.${source.id} as id ${matches}`,
      }),
    );
    lists.set(key, list);
  }
  return list;
}

// All of them now, so that `npm run check` prepares each.
for (let set = 0; set < 2 ** FILTERS.length; set++) listBy(FILTERS.filter((_, i) => set & (2 ** i)));

// The newest articles of the feed can only be by the authors who published last: as many authors as the page goes deep. So
// the cost grows with the number of authors followed and the depth of the page, but not with the number of articles.
const FEED = read<ListRow>(
  "articles_feed",
  listText(VIEWER, {
    followed: `
      select user_id, articles_count, newest_published_at, newest_id from author_counts
       -- As an array, not a join: one scan of the index takes half of what a look-up for each author takes.
       where user_id = any (array(select followee_id from follows where follower_id = ${VIEWER}))`,
    count: "select sum(articles_count) from followed",
    keys: `
      select newest.published_at, newest.id
        from (select user_id from followed
               order by newest_published_at desc, newest_id desc
               limit :limit::bigint + :offset::bigint) author
             cross join lateral (
               select published_at, id from articles
                where author_id = author.user_id
                order by published_at desc, id desc
                limit :limit::bigint + :offset::bigint) newest`,
  }),
);
