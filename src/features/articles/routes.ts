import { type Context, Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { linkNextPage } from "../../http/cursor.ts";
import { describeRoute } from "../../http/openapi.ts";
import { body, json, query } from "../../http/validation.ts";
import type { Memory } from "../../memory/memory.ts";
import { type Guards, markBadToken } from "../identity/guards.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import type { SharedReads } from "../profiles/shared-reads.ts";
import { listArticles, listFeed } from "./lists.ts";
import { deleteArticle, favorite, findArticle, insertArticle, unfavorite, updateArticle } from "./queries.ts";
import {
  ARTICLE_REQUEST_SIZE_MAX,
  ArticleResponse,
  ArticlesResponse,
  type ListFilters,
  ListQuery,
  NewArticleBody,
  PageQuery,
  UpdateArticleBody,
} from "./schema.ts";
import { parseSearch } from "./search/expression.ts";
import { type FoundArticles, findArticles } from "./search/queries.ts";

export function articleRoutes(
  db: Database,
  memory: Memory,
  shared: SharedReads,
  { requireUser, optionalUser }: Guards,
  { limit }: WriteLimits,
  isDeletionRemembered = false,
) {
  return new Hono()
    .get(
      "/articles",
      optionalUser,
      query(ListQuery),
      (c) => {
        const { q, cursor, ...rest } = c.var.query;
        if (q !== undefined) {
          const after = cursor !== undefined && "score" in cursor ? cursor : undefined;
          return respondToSearch(c, findArticles(db, c.var.viewerId, parseSearch(q), { ...rest, cursor: after }));
        }
        const filters = { ...rest, cursor: cursor !== undefined && "publishedAt" in cursor ? cursor : undefined };
        return shared.respond(c, listKey(filters), (viewerId) => listArticles(db, viewerId, filters));
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
        const { article, changed } = await insertArticle(db, c.var, c.var.body.article);
        await memory.changed(changed);
        return json(c, { article }, 201);
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
      (c) => {
        const slug = c.req.param("slug");
        return shared.respond(c, `article ${slug}`, (viewerId) => findArticle(db, viewerId, slug));
      },
      describeRoute({
        operationId: "GetArticle",
        tag: "Articles",
        summary: "Get an article",
        description:
          "The full article, with its body. A former slug redirects to the current one, as long as the article exists.",
        responses: { 200: ArticleResponse, 304: null, 308: null },
        errors: ["not_found", "gone"],
      }),
    )

    .put(
      "/articles/:slug",
      requireUser,
      limit("articles"),
      body(UpdateArticleBody, ARTICLE_REQUEST_SIZE_MAX),
      limit("article-bytes", bytesOf),
      async (c) => {
        const { article, changed } = await updateArticle(db, c.var, c.req.param("slug"), c.var.body.article);
        await memory.changed(changed);
        return json(c, { article });
      },
      describeRoute({
        operationId: "UpdateArticle",
        tag: "Articles",
        summary: "Update an article",
        description:
          "Only the author can update an article. A new title changes the `slug` as well; the former one redirects. The version before becomes a revision.",
        responses: { 200: ArticleResponse },
        errors: ["forbidden", "not_found"],
      }),
    )

    .delete(
      "/articles/:slug",
      requireUser,
      async (c) => {
        const { changed } = await deleteArticle(db, c.var, c.req.param("slug"), isDeletionRemembered);
        await memory.changed(changed);
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
        const { article, changed } = await favorite(db, c.var, c.req.param("slug"));
        await memory.changed(changed);
        return json(c, { article });
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
        const { article, changed } = await unfavorite(db, c.var, c.req.param("slug"));
        await memory.changed(changed);
        return json(c, { article });
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

/** Not from memory, as the index changes after the articles. */
async function respondToSearch(c: Context, search: Promise<FoundArticles>): Promise<Response> {
  const { ids: _, viewerGone, ...list } = await search;
  if (viewerGone) markBadToken(c);
  linkNextPage(c, list.nextCursor);
  return json(c, list);
}

const listKey = ({ limit, offset, cursor, tag, author, favorited }: ListFilters): string =>
  `articles ${JSON.stringify([limit, offset, cursor, tag, author, favorited])}`;

/** The size of an article's new body, in bytes. */
const bytesOf = (c: Context<{ Variables: { body: { article: { body?: string | undefined } } } }>): number =>
  Buffer.byteLength(c.var.body.article.body ?? "");
