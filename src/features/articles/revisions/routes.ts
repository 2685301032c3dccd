import { type Context, Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { linkNextPage } from "../../../http/cursor.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { json, query } from "../../../http/validation.ts";
import type { Memory } from "../../../memory/memory.ts";
import type { CurrentSession } from "../../identity/current-session.ts";
import type { Guards } from "../../identity/guards.ts";
import type { WriteLimits } from "../../identity/write-limits.ts";
import { updateArticle } from "../queries.ts";
import { type Article, ArticleResponse } from "../schema.ts";
import { compareRevisions, findRevision, listRevisions } from "./queries.ts";
import {
  DiffQuery,
  DiffResponse,
  RevisionNumber,
  RevisionResponse,
  RevisionsQuery,
  RevisionsResponse,
} from "./schema.ts";

export function revisionRoutes(db: Database, memory: Memory, { requireUser }: Guards, writeLimits: WriteLimits) {
  return new Hono()
    .get(
      "/articles/:slug/revisions",
      requireUser,
      query(RevisionsQuery),
      async (c) => {
        const list = await listRevisions(db, c.var.userId, c.req.param("slug"), c.var.query);
        linkNextPage(c, list.nextCursor);
        return json(c, list);
      },
      describeRoute({
        operationId: "GetArticleRevisions",
        tag: "Revisions",
        summary: "List the revisions of an article",
        description:
          "The versions that edits have replaced, the newest first. For everybody but the author, the article is not found. `nextCursor` leads to the next page.",
        responses: { 200: RevisionsResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .get(
      "/articles/:slug/revisions/:number",
      requireUser,
      async (c) => {
        const { slug, number } = c.req.param();
        return json(c, { revision: await findRevision(db, c.var.userId, slug, number) });
      },
      describeRoute({
        operationId: "GetArticleRevision",
        tag: "Revisions",
        summary: "Get a revision",
        description: "A former version of an article, with its body. For its author alone.",
        params: { number: RevisionNumber },
        responses: { 200: RevisionResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .get(
      "/articles/:slug/revisions/:number/diff",
      requireUser,
      query(DiffQuery),
      async (c) => {
        const { slug, number } = c.req.param();
        return json(c, { diff: await compareRevisions(db, c.var.userId, slug, number, c.var.query.to ?? null) });
      },
      describeRoute({
        operationId: "GetArticleRevisionDiff",
        tag: "Revisions",
        summary: "Compare a revision",
        description:
          "How a revision differs, by words, from another one (`to`) or from the article as it is now. Texts that differ too much are one part removed and one added. For the author alone.",
        params: { number: RevisionNumber },
        responses: { 200: DiffResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .post(
      "/articles/:slug/revisions/:number/restore",
      requireUser,
      writeLimits.limit("articles"),
      async (c) => {
        const { slug, number } = c.req.param();
        return json(c, { article: await restoreByRequest(c, db, memory, writeLimits, c.var, slug, number) });
      },
      describeRoute({
        operationId: "RestoreArticleRevision",
        tag: "Revisions",
        summary: "Restore a revision",
        description:
          "Edits the article to be as it was in a revision. The version that this replaces becomes a revision, too. For the author alone.",
        params: { number: RevisionNumber },
        responses: { 200: ArticleResponse },
        errors: ["not_found", "too_many_requests"],
      }),
    );
}

/** What the API and the pages do alike to restore a revision. Throws 401, 404, and 429 as the limit on bytes does. */
export async function restoreByRequest(
  c: Context,
  db: Database,
  memory: Memory,
  writeLimits: WriteLimits,
  { userId, sessionId }: CurrentSession,
  slug: string,
  number: string,
): Promise<Article> {
  const { title, description, body, tagList } = await findRevision(db, userId, slug, number);
  writeLimits.count(c, "article-bytes", userId, Buffer.byteLength(body));
  const session = { userId, sessionId };
  const { article, changed } = await updateArticle(db, session, slug, { title, description, body, tagList });
  await memory.changed(changed);
  return article;
}
