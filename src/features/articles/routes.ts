import { type Context, Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { linkNextPage } from "../../http/cursor.ts";
import { describeRoute } from "../../http/openapi.ts";
import { body, json, query } from "../../http/validation.ts";
import { type Guards, markBadToken } from "../identity/guards.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import { listArticles, listFeed } from "./lists.ts";
import { deleteArticle, favorite, findArticle, insertArticle, unfavorite, updateArticle } from "./queries.ts";
import {
  ARTICLE_REQUEST_SIZE_MAX,
  type ArticleList,
  ArticleResponse,
  ArticlesResponse,
  type ListOrSearch,
  ListQuery,
  NewArticleBody,
  PageQuery,
  UpdateArticleBody,
} from "./schema.ts";
import { parseSearch } from "./search/expression.ts";
import { findArticles } from "./search/queries.ts";

export function articleRoutes(db: Database, { requireUser, optionalUser }: Guards, { limit }: WriteLimits) {
  return new Hono()
    .get(
      "/articles",
      optionalUser,
      query(ListQuery),
      async (c) => {
        const { viewerGone, ...list } = await listOrSearch(db, c.var.viewerId, c.var.query);
        if (viewerGone) markBadToken(c);
        linkNextPage(c, list.nextCursor);
        return json(c, list);
      },
      describeRoute({
        operationId: "GetArticles",
        tag: "Articles",
        summary: "List articles",
        description:
          "The newest articles first, or with `q` the best matches. Filters can be combined. `nextCursor` leads to the next page, however deep, at the same cost.",
        responses: { 200: ArticlesResponse, 304: null },
      }),
    )

    .get(
      "/articles/feed",
      requireUser,
      query(PageQuery),
      async (c) => {
        const list = await listFeed(db, c.var.userId, c.var.query);
        linkNextPage(c, list.nextCursor);
        return json(c, list);
      },
      describeRoute({
        operationId: "GetArticlesFeed",
        tag: "Articles",
        summary: "List your feed",
        description: "Articles by the authors you follow, the newest first. `nextCursor` leads to the next page.",
        responses: { 200: ArticlesResponse, 304: null },
      }),
    )

    .post(
      "/articles",
      requireUser,
      limit("articles"),
      body(NewArticleBody, ARTICLE_REQUEST_SIZE_MAX),
      limit("article-bytes", bytesOf),
      async (c) => {
        return json(c, { article: await insertArticle(db, c.var, c.var.body.article) }, 201);
      },
      describeRoute({
        operationId: "CreateArticle",
        tag: "Articles",
        summary: "Create an article",
        description:
          "The server derives the `slug` from the title, and adds a suffix if another article already has that slug.",
        responses: { 201: ArticleResponse },
      }),
    )

    .get(
      "/articles/:slug",
      optionalUser,
      async (c) => {
        const { article, viewerGone } = await findArticle(db, c.var.viewerId, c.req.param("slug"));
        if (viewerGone) markBadToken(c);
        return json(c, { article });
      },
      describeRoute({
        operationId: "GetArticle",
        tag: "Articles",
        summary: "Get an article",
        description: "The full article, with its body.",
        responses: { 200: ArticleResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .put(
      "/articles/:slug",
      requireUser,
      limit("articles"),
      body(UpdateArticleBody, ARTICLE_REQUEST_SIZE_MAX),
      limit("article-bytes", bytesOf),
      async (c) => {
        const article = await updateArticle(db, c.var, c.req.param("slug"), c.var.body.article);
        return json(c, { article });
      },
      describeRoute({
        operationId: "UpdateArticle",
        tag: "Articles",
        summary: "Update an article",
        description: "Only the author can update an article. A new title changes the `slug` as well.",
        responses: { 200: ArticleResponse },
        errors: ["forbidden", "not_found"],
      }),
    )

    .delete(
      "/articles/:slug",
      requireUser,
      async (c) => {
        await deleteArticle(db, c.var, c.req.param("slug"));
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "DeleteArticle",
        tag: "Articles",
        summary: "Delete an article",
        description: "Only the author can delete an article. Its comments and favorites are deleted with it.",
        responses: { 204: null },
        errors: ["forbidden", "not_found"],
      }),
    )

    .post(
      "/articles/:slug/favorite",
      requireUser,
      limit("favorites"),
      async (c) => {
        return json(c, { article: await favorite(db, c.var, c.req.param("slug")) });
      },
      describeRoute({
        operationId: "CreateArticleFavorite",
        tag: "Favorites",
        summary: "Favorite an article",
        description: "Has no effect if you have already favorited the article.",
        responses: { 200: ArticleResponse },
        errors: ["not_found"],
      }),
    )

    .delete(
      "/articles/:slug/favorite",
      requireUser,
      limit("favorites"),
      async (c) => {
        return json(c, { article: await unfavorite(db, c.var, c.req.param("slug")) });
      },
      describeRoute({
        operationId: "DeleteArticleFavorite",
        tag: "Favorites",
        summary: "Unfavorite an article",
        description: "Has no effect if you have not favorited the article.",
        responses: { 200: ArticleResponse },
        errors: ["not_found"],
      }),
    );
}

/** As a list, whether sorted by time or by how well articles match. */
async function listOrSearch(
  db: Database,
  viewerId: string | null,
  { q, cursor, ...filters }: ListOrSearch,
): Promise<ArticleList & { viewerGone: boolean }> {
  if (q === undefined) {
    const after = cursor !== undefined && "publishedAt" in cursor ? cursor : undefined;
    return listArticles(db, viewerId, { ...filters, cursor: after });
  }
  const after = cursor !== undefined && "score" in cursor ? cursor : undefined;
  const { ids: _, ...list } = await findArticles(db, viewerId, parseSearch(q), { ...filters, cursor: after });
  return list;
}

/** The size of an article's new body, in bytes. */
const bytesOf = (c: Context<{ Variables: { body: { article: { body?: string | undefined } } } }>): number =>
  Buffer.byteLength(c.var.body.article.body ?? "");
