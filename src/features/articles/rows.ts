// What statements select of articles, and how their rows become the objects of the API. A new member of an article is a
// column of the table, a line in `previewColumns` or `articleColumns`, and a line in schema.ts.

import { type RowOf, rowMapper } from "../../db/rows.ts";
import { topics } from "../../memory/topics.ts";
import { type ProfileId, profileColumns, profileOf } from "../profiles/queries.ts";
import type { Profile } from "../profiles/schema.ts";
import type { Seen } from "../profiles/shared-reads.ts";
import type { Viewer } from "../profiles/viewer.ts";
import { Article, ArticlePreview } from "./schema.ts";

/**
 * SQL for whether everybody may see an article. Search indexes only these, and checks again when it reads them.
 * @param article the name of the table in the statement
 */
export const isPublished = (article: string): string => `${article}.published_at is not null`;

/** SQL for what a statement knows better than the tables. */
type Known = { readonly favorited?: string; readonly favoritesCount?: string; readonly body?: string };

/** The columns of an article without its body, of `articles a` and its author `users u`, as a viewer sees them. */
export const previewColumns = (viewer: Viewer, known: Known = {}): string => `
    a.id as "articleId",
    a.slug,
    a.title,
    a.description,
    a.excerpt,
    a.word_count as "wordCount",
    a.reading_time as "readingTime",
    a.tag_list as "tagList",
    a.created_at as "createdAt",
    a.published_at as "publishedAt",
    a.updated_at as "updatedAt",
    ${known.favorited ?? favoritedBy(viewer)} as favorited,
    ${known.favoritesCount ?? "a.favorites_count"} as "favoritesCount",
    ${profileColumns(viewer)}`;

/** The columns of an article with its body. */
export const articleColumns = (viewer: Viewer, known: Known = {}): string => `${previewColumns(viewer, known)},
    ${known.body ?? "a.body"}`;

const favoritedBy = (viewer: Viewer): string =>
  viewer === null
    ? "false"
    : `exists (
      select from favorites
       where user_id = ${viewer} and article_published_at = a.published_at and article_id = a.id)`;

/**
 * Articles by their keys, as a viewer sees them: a part of a `from` clause, in which `article` has the columns of
 * `previewColumns`. Every list of articles is built on it.
 * @param keys the name of a relation with a column `id`
 */
export const articlesByKeys = (viewer: Viewer, keys: string): string => `${keys} cross join lateral (
    select ${previewColumns(viewer)}
      from articles a join users u on u.id = a.author_id
     where a.id = ${keys}.id
     -- There is one, found by its index. Without the limit, the planner, which does not know how few keys there are, may
     -- read the whole table instead.
     limit 1) article`;

/** A row with the columns of `previewColumns`, or of `articleColumns`. */
export type PreviewRow = RowOf<Omit<ArticlePreview, "author"> & Profile> & ArticleIds;
export type ArticleRow = RowOf<Omit<Article, "author"> & Profile> & ArticleIds;

/** The ids of an article and of its author, which are not part of the API. */
export type ArticleIds = { readonly articleId: string } & ProfileId;

export const previewOf: (row: PreviewRow) => ArticlePreview = rowMapper(ArticlePreview, { author: profileOf });

export const articleOf: (row: ArticleRow) => Article = rowMapper(Article, { author: profileOf });

/** What a response with these articles depends on, and whose flags it has. */
export const seenArticles = (rows: readonly ArticleIds[]): Required<Pick<Seen, "ids" | "topics">> => ({
  ids: { favorited: rows.map((row) => row.articleId), following: rows.map((row) => row.userId) },
  topics: rows.flatMap((row) => [topics.article(row.articleId), topics.user(row.userId)]),
});
