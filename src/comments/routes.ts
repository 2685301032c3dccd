import { Hono } from "hono";
import { type Guards, markBadToken } from "../auth/guards.ts";
import type { Database } from "../platform/database.ts";
import { body, json } from "../platform/http.ts";
import { deleteComment, insertComment, listComments } from "./queries.ts";
import { NewCommentBody } from "./schema.ts";

export function commentRoutes(db: Database, { requireUser, optionalUser }: Guards) {
  return new Hono()
    .get("/articles/:slug/comments", optionalUser, async (c) => {
      const comments = await listComments(db, c.var.viewerId, c.req.param("slug"));
      if (comments.viewerGone) markBadToken(c);
      return json(c, `{"comments":${comments.json}}`);
    })

    .post("/articles/:slug/comments", requireUser, body(NewCommentBody), async (c) => {
      const comment = await insertComment(db, c.var.userId, c.req.param("slug"), c.var.body.comment.body);
      return json(c, `{"comment":${comment}}`, 201);
    })

    .delete("/articles/:slug/comments/:id", requireUser, async (c) => {
      await deleteComment(db, c.var.userId, c.req.param("slug"), c.req.param("id"));
      return c.body(null, 204);
    });
}
