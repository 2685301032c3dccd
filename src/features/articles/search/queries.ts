import type { Database } from "../../../db/pool.ts";
import type { LeftJoined } from "../../../db/rows.ts";
import { read } from "../../../db/statements.ts";
import { pageOf } from "../../../http/cursor.ts";
import { sameKey } from "../../identity/users/rules.ts";
import { readForViewer, rowsForViewer, type Viewer, viewerGone } from "../../profiles/viewer.ts";
import { articlesByKeys, isPublished, type PreviewRow, previewOf } from "../rows.ts";
import { type ArticlePreview, SearchCursor, type SearchFilters } from "../schema.ts";
import { exactly, longest, parseSearch, roughly, type Search, wordsToFind, written } from "./expression.ts";
import { readHighlights } from "./highlights.ts";
import type { SearchResults } from "./schema.ts";

export type FoundArticles = {
  readonly articles: ArticlePreview[];
  /** The id of each of them, in the same order. */
  readonly ids: string[];
  readonly articlesCount: number;
  readonly nextCursor: string | null;
  readonly viewerGone: boolean;
};

/**
 * Articles that match a search, the best first, with what matched in each. A search without any result is repeated with
 * words that are known and similar.
 */
export async function searchArticles(
  db: Database,
  viewerId: string | null,
  filters: SearchFilters,
): Promise<SearchResults & { viewerGone: boolean }> {
  let search = parseSearch(filters.q);
  let found = await findArticles(db, viewerId, search, filters);
  let correctedQuery: string | null = null;
  if (found.articlesCount === 0 && filters.cursor === undefined) {
    const corrected = await correct(db, search);
    if (corrected !== undefined) {
      const better = await findArticles(db, viewerId, parseSearch(corrected), filters);
      if (better.articlesCount > 0) {
        [found, correctedQuery, search] = [better, corrected, parseSearch(corrected)];
      }
    }
  }
  const { articles, ids, ...list } = found;
  const highlights = await readHighlights(db, ids, wordsToFind(search));
  return {
    ...list,
    articles: articles.map((article, i) => {
      const highlight = highlights[i];
      if (highlight === undefined) throw new Error("a result has no highlights");
      return { ...article, highlights: highlight };
    }),
    correctedQuery,
  };
}

/** Articles that match a search and filters, the best first. At most 400 can be reached. */
export async function findArticles(
  db: Database,
  viewerId: string | null,
  search: Search,
  { limit, offset, cursor, tag, author, favorited }: Omit<SearchFilters, "q">,
): Promise<FoundArticles> {
  if (search.length === 0) return { articles: [], ids: [], articlesCount: 0, nextCursor: null, viewerGone: false };
  const statement = favorited === undefined ? SEARCH : SEARCH_FAVORITES;
  const rows = await rowsForViewer(db, statement, viewerId, {
    exactly: exactly(search),
    roughly: roughly(search),
    longest: longest(search),
    inTitle: exactly(search, "A"),
    inTags: exactly(search, "AB"),
    inDescription: exactly(search, "ABC"),
    author: author === undefined ? null : sameKey(author),
    tag: tag === undefined ? "" : `'_t${tag.replace(/['\\]/g, "$&$&")}'`,
    newest: cursor?.newest ?? null,
    afterScore: cursor?.score ?? SCORE_MAX,
    afterId: cursor?.id ?? "0",
    limit,
    offset,
    ...(favorited === undefined ? {} : { favorited: sameKey(favorited) }),
  });
  const [first] = rows;
  if (first === undefined) throw new Error("a search returned no row");
  const found = rows.flatMap((row) => (row.slug === null ? [] : [row]));
  const { page, nextCursor } = pageOf(found, limit, ({ newest, score, id }) =>
    SearchCursor.after({ newest, score, id }),
  );
  return {
    articles: page.map(previewOf),
    ids: page.map(({ id }) => id),
    articlesCount: first.articlesCount,
    nextCursor,
    viewerGone: first.viewerGone,
  };
}

/** Above every score. */
const SCORE_MAX = 2_000_000_000;

/** One row per article, and one more than the page has; a single row without an article if the page is empty. */
type SearchRow = { articlesCount: number; viewerGone: boolean } & LeftJoined<
  PreviewRow & { id: string; score: number; newest: string }
>;

/** A reader may have a hundred thousand favourites. */
const FAVORITES_MAX = 1_000;

const SEARCH = searchFor("search", "search_candidates(q.longest, q.roughly, q.newest)");

const SEARCH_FAVORITES = searchFor(
  "search_favorites",
  `array(select article_id from favorites
          where user_id = (select id from users where username_key = :favorited) and is_published and article_id <= q.newest
          order by article_published_at desc, article_id desc limit ${FAVORITES_MAX})`,
);

/**
 * A statement that ranks candidates. What has all words in the title comes before what needs the tags for it, then the
 * description, then the body: that is the score's million. Below it is how often and how closely the words occur, and how
 * many favourites the article has.
 * @param candidates SQL for an array of ids, from `q`
 */
function searchFor(name: string, candidates: string) {
  return readForViewer<SearchRow>(
    name,
    (viewer: Viewer) => `with filters as materialized (
          select case when :author::text is null then ''::tsquery
                      else (select ('_a' || id)::tsquery from users where username_key = :author::text) end
                 && :tag::tsquery as filter),
        q as materialized (
          select to_tsquery('article', :exactly) && filter as exactly,
                 to_tsquery('article', :roughly) && filter as roughly,
                 to_tsquery('article', :longest) && filter as longest,
                 to_tsquery('article', :exactly) as words,
                 to_tsquery('article', :inTitle) as in_title,
                 to_tsquery('article', :inTags) as in_tags,
                 to_tsquery('article', :inDescription) as in_description,
                 coalesce(:newest::bigint, (select max(article_id) from article_search)) as newest
            from filters),
        candidates as materialized (
          -- By their keys, before the vectors are compared: otherwise the planner may search the whole index again.
          select s.article_id, s.head, s.everything from article_search s
           where s.article_id = any (array(select distinct unnest(${candidates}) from q))),
        matches as materialized (
          select s.article_id as id,
                 1000000 * case when s.head @@ in_title then 3 when s.head @@ in_tags then 2
                                when s.head @@ in_description then 1 else 0 end
                   + round(999999 * relevance / (1 + relevance))::integer as score
            from candidates s cross join q
                 join articles a on a.id = s.article_id and ${isPublished("a")}
                 cross join lateral (
                   select ts_rank_cd('{0.05, 0.3, 0.6, 1}', s.everything, words, 1)
                            * (1 + 0.2 * ln(1 + a.favorites_count)) as relevance) r
           where s.everything @@ q.exactly),
        summary as materialized (select count(*)::integer as count from matches),
        page as materialized (
          select id, score from matches where (score, id) < (:afterScore::bigint, :afterId::bigint)
           order by score desc, id desc
           limit :limit::bigint + 1 offset :offset::bigint)
   select summary.count as "articlesCount", ${viewerGone(viewer)}, page.id::text, page.score,
          (select newest::text from q) as newest, article.*
     from summary left join (${articlesByKeys(viewer, "page")}) on true
    order by page.score desc, page.id desc`,
    "search",
  );
}

/** The search with the most similar known words in place of unknown ones, as text; undefined if there are none. */
async function correct(db: Database, search: Search): Promise<string | undefined> {
  const replacements = new Map<string, string>();
  for (const word of wordsToFind(search)) {
    if (word.length < 4 || !/^\p{L}+$/u.test(word)) continue;
    const nearest = (await db.row(NEAREST_WORD, [word]))?.word ?? null;
    if (nearest !== null && nearest !== word) replacements.set(word, nearest);
  }
  return replacements.size === 0 ? undefined : written(search, replacements);
}

const NEAREST_WORD = read<{ word: string | null }>("search_nearest_word", "select nearest_word($1) as word", "search");
