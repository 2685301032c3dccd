import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { body, json } from "../../http/validation.ts";
import { type Guards, markBadToken } from "../identity/guards.ts";
import { deleteComment, insertComment, listComments } from "./queries.ts";
import { CommentId, CommentResponse, CommentsResponse, NewCommentBody } from "./schema.ts";

export function commentRoutes(db: Database, { requireUser, optionalUser }: Guards) {
  return new Hono()
    .get(
      "/articles/:slug/comments",
      optionalUser,
      async (c) => {
        const { comments, viewerGone } = await listComments(db, c.var.viewerId, c.req.param("slug"));
        if (viewerGone) markBadToken(c);
        return json(c, { comments });
      },
      describeRoute({
        operationId: "GetArticleComments",
        tag: "Comments",
        summary: "List the comments on an article",
        description: "All comments, the newest first.",
        responses: { 200: CommentsResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .post(
      "/articles/:slug/comments",
      requireUser,
      body(NewCommentBody),
      async (c) => {
        const comment = await insertComment(db, c.var.userId, c.req.param("slug"), c.var.body.comment.body);
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
        await deleteComment(db, c.var.userId, c.req.param("slug"), c.req.param("id"));
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "DeleteArticleComment",
        tag: "Comments",
        summary: "Delete a comment",
        description: "Only the author of a comment can delete it.",
        params: { id: CommentId },
        responses: { 204: null },
        errors: ["forbidden", "not_found"],
      }),
    );
}
