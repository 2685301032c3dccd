import type { Database } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { read, slow } from "../../db/statements.ts";
import { pageOf } from "../../http/cursor.ts";
import { topics } from "../../memory/topics.ts";
import { sessionEnded } from "../identity/current-session.ts";
import { sameKey } from "../identity/users/rules.ts";
import type { Seen } from "../profiles/shared-reads.ts";
import {
  readForViewer,
  rowsForViewer,
  slowForViewer,
  VIEWER,
  type Viewer,
  type ViewerRead,
  viewerGone,
} from "../profiles/viewer.ts";
import { articlesByKeys, isPublished, type PreviewRow, previewOf, seenArticles } from "./rows.ts";
import { ArticleCursor, type ArticleList, type ListFilters, type Page } from "./schema.ts";

/** A page with more articles may be half a megabyte. The default of `limit` is fast. */
const FAST_LIMIT_MAX = 20;
/** To skip more rows takes milliseconds. */
const FAST_OFFSET_MAX = 1_000;
/** The feed reads as many articles of as many authors. */
const FAST_FEED_OFFSET_MAX = 100;

/** Articles by tag, author and the user who favourited them, newest first, with the number of all matches. */
export async function listArticles(
  db: Database,
  viewerId: string | null,
  { limit, offset, cursor, tag, author, favorited }: ListFilters,
): Promise<Seen<ArticleList>> {
  const values = {
    ...(tag === undefined ? {} : { tag }),
    ...(author === undefined ? {} : { author: sameKey(author) }),
    ...(favorited === undefined ? {} : { favorited: sameKey(favorited) }),
  };
  const list = listBy(FILTERS.filter((filter) => filter in values));
  // A person's favourites with a tag are looked up one by one to count them.
  const isSlow = limit > FAST_LIMIT_MAX || offset > FAST_OFFSET_MAX || (tag !== undefined && favorited !== undefined);
  const statement = isSlow ? slowForViewer(list) : list;
  const rows = await rowsForViewer(db, statement, viewerId, { limit, offset, ...after(cursor), ...values });
  return listOf(rows, limit, (first) => topicsOf(values, first));
}

/** What decides which articles are in a list. Other topics of the same writes are left out. */
function topicsOf({ tag, author, favorited }: Partial<Record<Filter, string>>, { authorId, favoritedId }: NamedIds) {
  const list: string[] = [];
  if (tag !== undefined) list.push(topics.tag(tag));
  if (author !== undefined) list.push(topics.name(author));
  if (favorited !== undefined) {
    list.push(topics.name(favorited), topics.deletions);
    if (favoritedId !== null) list.push(topics.favorites(favoritedId));
  } else if (tag === undefined) {
    if (author === undefined) list.push(topics.articles);
    else if (authorId !== null) list.push(topics.author(authorId));
  }
  return list;
}

/** Articles by authors whom the viewer follows, newest first, with the number of all. Throws 401. */
export async function listFeed(db: Database, viewerId: string, { limit, offset, cursor }: Page): Promise<ArticleList> {
  const list = cursor === undefined ? FEED : FEED_AFTER;
  const isSlow = limit > FAST_LIMIT_MAX || offset > FAST_FEED_OFFSET_MAX;
  const statement = isSlow ? slow(list) : list;
  const values = { limit, offset, viewerId, ...(cursor === undefined ? {} : after(cursor)) };
  const { viewerGone, value } = listOf(await db.rows(statement, values), limit, () => []);
  if (viewerGone) throw sessionEnded();
  return value;
}

/** The parameters of a position, by default before the first article. */
const after = (cursor: Page["cursor"]) => ({
  afterTime: cursor?.publishedAt ?? "infinity",
  afterId: cursor?.id ?? "0",
});

/** SQL for whether a row comes after the position. */
const isAfter = (publishedAt: string, id: string): string =>
  `(${publishedAt}, ${id}) < (:afterTime::timestamptz, :afterId::bigint)`;

/** One row per article, and one more than the page has; a single row without an article if the page is empty. */
type ListRow = { articlesCount: number; viewerGone: boolean } & NamedIds & LeftJoined<PreviewRow>;

/** The ids of the users whom the filters name; null if there is no such user, or no such filter. */
type NamedIds = { authorId: string | null; favoritedId: string | null };

function listOf(rows: ListRow[], limit: number, topicsOf: (first: ListRow) => readonly string[]): Seen<ArticleList> {
  const [first] = rows;
  if (first === undefined) throw new Error("a list returned no row");
  const found = rows.flatMap((row) => (row.slug === null ? [] : [row]));
  const { page, nextCursor } = pageOf(found, limit, (last) =>
    ArticleCursor.after({ id: last.articleId, publishedAt: previewOf(last).publishedAt }),
  );
  const { ids, topics } = seenArticles(page);
  return {
    value: { articles: page.map(previewOf), nextCursor, articlesCount: first.articlesCount },
    nextCursor,
    ids,
    topics: [...topicsOf(first), ...topics],
    viewerGone: first.viewerGone,
  };
}

/**
 * The statement of a list: first the keys of the page, from an index that has them sorted, then the articles of these keys
 * alone, and one more, which shows whether there is another page. Its parameters are `:limit`, `:offset`, and those of the
 * parts.
 * @param parts.count SQL for the number of all matches; null is 0
 * @param parts.keys a query for the keys (published_at, id) of all matches
 * @param parts.followed a common table expression for both
 * @param parts.named the columns of `NamedIds`
 */
function listText(
  viewer: Viewer,
  { count, keys, followed, named = "" }: { count: string; keys: string; followed?: string; named?: string },
) {
  return `with ${followed === undefined ? "" : `followed as materialized (${followed}),`}
     matches as materialized (select coalesce((${count}), 0)::integer as count),
     page as materialized (
       ${keys}
        order by published_at desc, id desc
        -- A page past the end is empty: the count says so, without a walk to the end.
        limit case when :offset::bigint < (select count from matches) then :limit::bigint + 1 else 0 end
       offset :offset::bigint)
   select matches.count as "articlesCount", ${named} ${viewerGone(viewer)}, article.*
     from matches left join (${articlesByKeys(viewer, "page")}) on true
    order by page.published_at desc, page.id desc`;
}

/** In this order in the names of statements. */
const FILTERS = ["tag", "author", "favorited"] as const;
type Filter = (typeof FILTERS)[number];

/** A table with a row for each article that may be in a list, and an index that has these rows in the order of lists. */
type Source = {
  readonly table: string;
  readonly publishedAt: string;
  readonly id: string;
  /** SQL for whether the article of a row `s` is published. */
  readonly isListed: string;
};
const ARTICLES: Source = { table: "articles", publishedAt: "published_at", id: "id", isListed: isPublished("s") };
const ARTICLE_TAGS: Source = { table: "article_tags", publishedAt: "published_at", id: "article_id", isListed: "true" };
const FAVORITES: Source = {
  table: "favorites",
  publishedAt: "article_published_at",
  id: "article_id",
  isListed: "s.is_published",
};

/** The narrowest source for a set of filters: a person has fewer favourites than a tag has articles. */
function sourceFor(filters: readonly Filter[]): Source {
  if (filters.includes("favorited")) return FAVORITES;
  return filters.includes("tag") ? ARTICLE_TAGS : ARTICLES;
}

const userNamed = (parameter: string): string => `(select id from users where username_key = ${parameter})`;

const idOf = (filter: "author" | "favorited", filters: readonly Filter[]): string =>
  filters.includes(filter) ? userNamed(`:${filter}`) : "null::bigint";

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
    const where = [source.isListed, ...filters.map((filter) => PREDICATES[filter](source))].join(" and ");
    const matches = `from ${source.table} s where ${where}`;
    list = readForViewer(key === "" ? "articles_all" : `articles_by_${key}`, (viewer) =>
      listText(viewer, {
        count: MAINTAINED_COUNTS[key] ?? `select count(*) ${matches}`,
        keys: `select s.${source.publishedAt} as published_at, s.${source.id} as id ${matches}
          and ${isAfter(`s.${source.publishedAt}`, `s.${source.id}`)}`,
        named: `${idOf("author", filters)} as "authorId", ${idOf("favorited", filters)} as "favoritedId",`,
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
const FEED = feed(
  "articles_feed",
  "select user_id, newest_published_at as published_at, newest_id as id from followed",
);

// The same after a position, where each author's newest article is looked up.
const FEED_AFTER = feed(
  "articles_feed_after",
  `select user_id, newest.published_at, newest.id
     from followed cross join lateral (
            select published_at, id from articles
             where author_id = user_id and ${isPublished("articles")} and ${isAfter("published_at", "id")}
             order by published_at desc, id desc limit 1) newest`,
  `and ${isAfter("published_at", "id")}`,
);

/**
 * @param newest a query for the newest article (user_id, published_at, id) of each author in `followed`
 * @param restriction SQL that restricts articles
 */
function feed(name: string, newest: string, restriction = "") {
  return read<ListRow>(
    name,
    listText(VIEWER, {
      followed: `
        select user_id, articles_count, newest_published_at, newest_id from author_counts
         -- As an array, not a join: one scan of the index takes half of what a look-up for each author takes.
         where user_id = any (array(select followee_id from follows where follower_id = ${VIEWER}))`,
      count: "select sum(articles_count) from followed",
      keys: `
        select article.published_at, article.id
          from (select user_id from (${newest}) newest
                 order by published_at desc, id desc
                 limit :limit::bigint + :offset::bigint + 1) author
               cross join lateral (
                 select published_at, id from articles
                  where author_id = author.user_id and ${isPublished("articles")} ${restriction}
                  order by published_at desc, id desc
                  limit :limit::bigint + :offset::bigint + 1) article`,
    }),
  );
}
