import { type Context, Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { linkNextPage } from "../../http/cursor.ts";
import { ifMatch } from "../../http/if-match.ts";
import { describeRoute } from "../../http/openapi.ts";
import { body, json, parse, query } from "../../http/validation.ts";
import { renderBody } from "../../markup/body.ts";
import type { Memory } from "../../memory/memory.ts";
import { type Guards, markBadToken } from "../identity/guards.ts";
import { idempotencyKey, respondOnce } from "../identity/idempotency.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import type { SharedReads } from "../profiles/shared-reads.ts";
import { listDrafts } from "./drafts.ts";
import { deleteArticle } from "./edits.ts";
import { favorite, unfavorite } from "./favorites.ts";
import { listArticles, listFeed } from "./lists.ts";
import { changeArticle, createArticle } from "./publication.ts";
import { findArticle } from "./queries.ts";
import {
  ARTICLE_REQUEST_SIZE_MAX,
  ArticleQuery,
  ArticleResponse,
  ArticlesResponse,
  DraftsQuery,
  DraftsResponse,
  type ListFilters,
  ListQuery,
  NewArticleBody,
  PageQuery,
  ReadArticleResponse,
  StaleArticleResponse,
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

    .get(
      "/user/articles",
      requireUser,
      query(DraftsQuery),
      async (c) => {
        const list = await listDrafts(db, c.var.userId, c.var.query);
        linkNextPage(c, list.nextCursor);
        return json(c, list);
      },
      describeRoute({
        operationId: "GetDrafts",
        tag: "Articles",
        summary: "List your drafts and scheduled articles",
        description:
          "Your articles that are not published, those that you began last first. `nextCursor` leads to the next page.",
        responses: { 200: DraftsResponse, 304: null },
      }),
    )

    .post(
      "/articles",
      requireUser,
      idempotencyKey,
      limit("articles"),
      body(NewArticleBody, ARTICLE_REQUEST_SIZE_MAX),
      limit("article-bytes", bytesOf),
      (c) =>
        respondOnce(c, { db, memory }, async (queries) => {
          const { article, changed } = await createArticle(queries, c.var, c.var.body.article);
          return { value: { article }, changed };
        }),
      describeRoute({
        operationId: "CreateArticle",
        tag: "Articles",
        summary: "Create an article",
        description:
          "The server derives the `slug` from the title, and adds a suffix if another article already has that slug. With `status`, the article is a draft, or is published at `publishAt`. Only you can see it until then.",
        responses: { 201: ArticleResponse },
      }),
    )

    .get(
      "/articles/:slug",
      optionalUser,
      (c) => {
        const slug = c.req.param("slug");
        const format = c.req.query("format");
        if (format !== undefined && parse(ArticleQuery, { format }, "query").format === "html") {
          return shared.respond(c, `html ${slug}`, (viewerId) => findArticleWithHtml(db, viewerId, slug));
        }
        return shared.respond(c, `article ${slug}`, (viewerId) => findArticle(db, viewerId, slug));
      },
      describeRoute({
        operationId: "GetArticle",
        tag: "Articles",
        summary: "Get an article",
        description:
          "The full article, with its body in Markdown, and with `format=html` also as HTML. A former slug redirects to the current one, as long as the article exists.",
        query: ArticleQuery,
        responses: { 200: ReadArticleResponse, 304: null, 308: null },
        errors: ["not_found", "invalid", "gone"],
      }),
    )

    .put(
      "/articles/:slug",
      requireUser,
      ifMatch,
      limit("articles"),
      body(UpdateArticleBody, ARTICLE_REQUEST_SIZE_MAX),
      limit("article-bytes", bytesOf),
      async (c) => {
        const { ifVersions } = c.var;
        const written = await changeArticle(db, c.var, c.req.param("slug"), c.var.body.article, { ifVersions });
        const { article, changed } = written;
        await memory.changed(changed);
        return json(c, { article });
      },
      describeRoute({
        operationId: "UpdateArticle",
        tag: "Articles",
        summary: "Update an article",
        description:
          "Only the author can update an article. The version before becomes a revision. A new title changes the `slug` as well, and so may the first publication of a draft; the former one redirects. `status` publishes an article, schedules it or withdraws it. Withdrawn, it keeps its comments and favorites, which return with it. With `If-Match`, the article is changed only if it has that version. Otherwise the status is 412, with the article as it is now.",
        responses: { 200: ArticleResponse, 412: StaleArticleResponse },
        errors: ["forbidden", "not_found"],
      }),
    )

    .delete(
      "/articles/:slug",
      requireUser,
      ifMatch,
      async (c) => {
        const deletion = { ifVersions: c.var.ifVersions, isRemembered: isDeletionRemembered };
        const { changed } = await deleteArticle(db, c.var, c.req.param("slug"), deletion);
        await memory.changed(changed);
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "DeleteArticle",
        tag: "Articles",
        summary: "Delete an article",
        description:
          "Only the author can delete an article. Its comments and favorites are deleted with it. With `If-Match`, the article is deleted only if it has that version. Otherwise the status is 412, with the article as it is now.",
        responses: { 204: null, 412: StaleArticleResponse },
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

/** One article with its body as HTML, which is rendered once for all readers, pages and feeds. Throws 404. */
async function findArticleWithHtml(db: Database, viewerId: string | null, slug: string) {
  const { value, ...seen } = await findArticle(db, viewerId, slug);
  const bodyHtml = await renderBody(value.article.body);
  return { ...seen, value: { article: { ...value.article, bodyHtml } } };
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
