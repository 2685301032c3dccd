import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { body, json, query } from "../../http/validation.ts";
import type { Memory } from "../../memory/memory.ts";
import type { Guards } from "../identity/guards.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import type { SharedReads } from "../profiles/shared-reads.ts";
import { deleteComment, insertComment, listComments } from "./queries.ts";
import {
  COMMENT_REQUEST_SIZE_MAX,
  CommentId,
  CommentResponse,
  CommentsQuery,
  CommentsResponse,
  NewCommentBody,
} from "./schema.ts";

export function commentRoutes(
  db: Database,
  memory: Memory,
  shared: SharedReads,
  { requireUser, optionalUser }: Guards,
  { limit }: WriteLimits,
) {
  return new Hono()
    .get(
      "/articles/:slug/comments",
      optionalUser,
      query(CommentsQuery),
      (c) => {
        const slug = c.req.param("slug");
        const page = c.var.query;
        const key = `comments ${JSON.stringify([slug, page.limit, page.cursor])}`;
        return shared.respond(c, key, (viewerId) => listComments(db, viewerId, slug, page));
      },
      describeRoute({
        operationId: "GetArticleComments",
        tag: "Comments",
        summary: "List the comments on an article",
        description:
          "The newest comments first, at most 100 per page, and at most 1 MiB of text. `nextCursor` leads to the next page.",
        responses: { 200: CommentsResponse, 304: null, 308: null },
        errors: ["not_found", "gone"],
      }),
    )

    .post(
      "/articles/:slug/comments",
      requireUser,
      limit("comments"),
      body(NewCommentBody, COMMENT_REQUEST_SIZE_MAX),
      async (c) => {
        const { comment, changed } = await insertComment(db, c.var, c.req.param("slug"), c.var.body.comment.body);
        await memory.changed(changed);
        return json(c, { comment }, 201);
      },
      describeRoute({
        operationId: "CreateArticleComment",
        tag: "Comments",
        summary: "Comment on an article",
        description: "The server stores the body as plain text. Clients decide how to display it.",
        responses: { 201: CommentResponse },
        errors: ["not_found"],
      }),
    )

    .delete(
      "/articles/:slug/comments/:id",
      requireUser,
      async (c) => {
        const { changed } = await deleteComment(db, c.var, c.req.param("slug"), c.req.param("id"));
        await memory.changed(changed);
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "DeleteArticleComment",
        tag: "Comments",
        summary: "Delete a comment",
        description: "The author of a comment can delete it, and so can the author of the article.",
        params: { id: CommentId },
        responses: { 204: null },
        errors: ["forbidden", "not_found"],
      }),
    );
}
