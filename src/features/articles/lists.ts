import type { Database } from "../../db/pool.ts";
import { type Parameter, read, write } from "../../db/statements.ts";
import { userMissing } from "../identity/guards.ts";
import { sameKey } from "../identity/users/rules.ts";
import { type ReadByViewer, readByViewer, rowSeen, type Seen, viewerGone } from "../profiles/viewer.ts";
import { articleInList } from "./queries.ts";
import type { ListFilters, Page } from "./schema.ts";

/** From this offset on, the list of all finds its page by blocks: to add them up takes as long as to walk there. */
const DEEP_FROM = 5_000;

type ListRow = { answer: string; viewer_gone: boolean };

/** Articles by tag, author and reader who favourited them, newest first, with the number of all matches. */
export async function listArticles(db: Database, viewerId: string | null, filters: ListFilters): Promise<Seen> {
  const { tag, author, favorited, limit, offset } = filters;
  const which = `${tag === undefined ? "" : "t"}${author === undefined ? "" : "a"}${favorited === undefined ? "" : "f"}`;
  const parameters: Parameter[] = [limit, offset];
  if (tag !== undefined) parameters.push(tag);
  if (author !== undefined) parameters.push(sameKey(author));
  if (favorited !== undefined) parameters.push(sameKey(favorited));
  const statement = which === "" && offset >= DEEP_FROM ? LISTS.deep : LISTS[which as keyof typeof LISTS];
  const list = await rowSeen(db, statement, viewerId, parameters);
  if (list === undefined) throw new Error("a list has no row");
  return { answer: list.answer, viewerGone: list.viewer_gone };
}

/** Articles of the authors whom the viewer follows, newest first, with the number of all. Throws 401. */
export async function listFeed(db: Database, viewerId: string, { limit, offset }: Page): Promise<string> {
  const list = await db.row(FEED, [limit, offset, viewerId]);
  if (list === undefined || list.viewer_gone) throw userMissing();
  return list.answer;
}

/**
 * A list as a statement of one row. First the keys of the page, from an index that has them sorted; then the articles of
 * those keys alone. Parameters: `$1` limit, `$2` offset, and from `$3` on what the parts ask for.
 */
type ListParts = {
  /** A query of one row: `count`, how many match, and what `page` needs to find them. */
  readonly scope: string;
  /** A query of the keys (created_at, id) of all matches in any order, or of all but the newest; may refer to `scope`. */
  readonly page: string;
  /** How many of the newest `page` has left out. */
  readonly skipped?: string;
  /** A common table expression that all of these may refer to. */
  readonly before?: string;
};

/** @param viewer SQL, null for nobody */
function listText(viewer: string, { scope, page, skipped, before }: ListParts): string {
  return `with ${before === undefined ? "" : `${before},`} scope as materialized (${scope}),
          page as materialized (
            ${page}
            order by created_at desc, id desc
            -- A page past the end is empty: known from the count, without walking there.
            limit case when $2::bigint < (select count from scope) then $1::bigint else 0 end
            offset $2::bigint${skipped === undefined ? "" : ` - ${skipped}`}),
          -- Looked up together, for a seventh less than each with its article.
          favourites as materialized (
            select array_agg(article_id) as ids from favorites
             where user_id = ${viewer} and article_created_at = any (array(select created_at from page)))
     select '{"articlesCount":' || coalesce((select count from scope), 0) || ',"articles":[' || coalesce((
            -- Put together here: one value to send and to read instead of a hundred, half of the application's work.
            select string_agg(a.article, ',' order by p.created_at desc, p.id desc)
               from page p cross join lateral (
                 select ${articleInList(viewer, isFavourite(viewer))} as article
                   from articles a join users u on u.id = a.author_id
                  -- One article a key, each by its index: told by the limit, or the planner, who cannot know how short
                  -- a page is, may read the whole table instead.
                  where a.id = p.id limit 1) a), '') || ']}' as answer, ${viewerGone(viewer)}`;
}

/** Of an article `a` of a list. Null without favourites, which is no "yes" either. */
const isFavourite = (viewer: string): string =>
  `${viewer} is not null and a.id = any ((select ids from favourites)::bigint[])`;

const list = (name: string, scope: string, page: string, more: Partial<ListParts> = {}): ReadByViewer<ListRow> =>
  readByViewer(`articles_${name}`, (viewer) => listText(viewer, { scope, page, ...more }));

const USER_BY_KEY = (parameter: string): string => `(select id from users where username_key = ${parameter})`;

/**
 * All 32 rows, which lie among those that busy hours have left behind, in a hundred pages: asked for by their keys, they
 * are found by the index where that is quicker.
 */
const TOTALS = "article_totals where slot between 0 and 31";

/** By the filters that are set: t(ag), a(uthor), f(avorited). */
const LISTS = {
  "": list("all", `select sum(articles_count)::bigint as count from ${TOTALS}`, "select created_at, id from articles"),
  // Counted blocks are skipped: newer ones than that in which the page begins.
  deep: list(
    "all_deep",
    `select t.count, coalesce(b.newer, 0) as newer, coalesce(b.end_created_at, 'infinity') as end_created_at,
            coalesce(b.end_id, 0) as end_id
       from (select coalesce(sum(articles_count), 0)::bigint as count from ${TOTALS}) t
       left join lateral (
         select end_created_at, end_id, newer
           from (select end_created_at, end_id,
                        t.count - sum(articles_count) over (order by end_created_at, end_id)::bigint as newer
                   from article_blocks) ends
          where newer <= $2::bigint order by end_created_at, end_id limit 1) b on true`,
    `select created_at, id from articles
      where (created_at, id) < ((select end_created_at from scope), (select end_id from scope))`,
    { skipped: "(select newer from scope)" },
  ),
  t: list(
    "by_tag",
    "select articles_count as count from tags where name = $3",
    "select created_at, article_id as id from article_tags where tag = $3",
  ),
  a: list(
    "by_author",
    `select user_id, articles_count as count from author_counts where user_id = ${USER_BY_KEY("$3")}`,
    "select created_at, id from articles where author_id = (select user_id from scope)",
  ),
  f: list(
    "by_favorited",
    `select user_id, favorites_count as count from reader_counts where user_id = ${USER_BY_KEY("$3")}`,
    `select article_created_at as created_at, article_id as id from favorites
      where user_id = (select user_id from scope)`,
  ),
  // Two filters: no count is kept for each pair. The matches are counted, within an index, among the articles or the
  // favourites of one person.
  ta: list(
    "by_tag_author",
    `select author_id, count(*) as count from article_tags
      where author_id = ${USER_BY_KEY("$4")} and tag = $3 group by author_id`,
    "select created_at, article_id as id from article_tags where author_id = (select author_id from scope) and tag = $3",
  ),
  tf: list(
    "by_tag_favorited",
    `select user_id, count(*) as count from favorites f
      where user_id = ${USER_BY_KEY("$4")} and ${tagged("f", "$3")} group by user_id`,
    `select article_created_at as created_at, article_id as id from favorites f
      where user_id = (select user_id from scope) and ${tagged("f", "$3")}`,
  ),
  af: list(
    "by_author_favorited",
    `select user_id, author_id, count(*) as count from favorites
      where user_id = ${USER_BY_KEY("$4")} and author_id = ${USER_BY_KEY("$3")} group by user_id, author_id`,
    `select article_created_at as created_at, article_id as id from favorites
      where user_id = (select user_id from scope) and author_id = (select author_id from scope)`,
  ),
  taf: list(
    "by_tag_author_favorited",
    `select user_id, author_id, count(*) as count from favorites f
      where user_id = ${USER_BY_KEY("$5")} and author_id = ${USER_BY_KEY("$4")} and ${tagged("f", "$3")}
      group by user_id, author_id`,
    `select article_created_at as created_at, article_id as id from favorites f
      where user_id = (select user_id from scope) and author_id = (select author_id from scope)
        and ${tagged("f", "$3")}`,
  ),
};

/** Whether the article of a favourite has a tag: one probe of an index. */
function tagged(favorite: string, tag: string): string {
  return `exists (select from article_tags t
    where t.tag = ${tag} and t.created_at = ${favorite}.article_created_at and t.article_id = ${favorite}.article_id)`;
}

// The newest articles of all can only be by the authors whose newest are the newest: as many authors as the page goes
// deep. So the cost grows with the number of authors followed, one probe each, and with the depth of the page, but not
// with the number of articles.
const FEED = read<ListRow>(
  "articles_feed",
  listText("$3::bigint", {
    scope: `select coalesce(sum(articles_count), 0)::bigint as count from followed`,
    page: `select newest.created_at, newest.id
     from (select user_id from followed
            order by newest_created_at desc, newest_id desc limit $1::bigint + $2::bigint) author
    cross join lateral (
      select created_at, id from articles where author_id = author.user_id
       order by created_at desc, id desc limit $1::bigint + $2::bigint) newest`,
    before: `followed as materialized (
     select user_id, articles_count, newest_created_at, newest_id from author_counts
      -- Not joined: one walk through the index for all of them, half of what a probe for each takes.
      where user_id = any (array(select followee_id from follows where follower_id = $3::bigint)))`,
  }),
);

/** Counts what has become old enough, for the pages deep in the list of all. */
export async function closeArticleBlocks(db: Database): Promise<void> {
  // In portions, between which others can publish.
  while ((await db.row(ARTICLE_BLOCKS_CLOSE, []))?.are_more);
}

const ARTICLE_BLOCKS_CLOSE = write<{ are_more: boolean }>(
  "article_blocks_close",
  "select close_article_blocks() = 100 as are_more",
);
