import { Hono } from "hono";
import { deleteArticle, favorite, findArticle, unfavorite } from "../features/articles/queries.ts";
import { deleteComment, insertComment, listComments } from "../features/comments/queries.ts";
import {
  COMMENT_REQUEST_SIZE_MAX,
  type CommentsPage,
  CommentsQuery,
  NewCommentBody,
} from "../features/comments/schema.ts";
import { parse, readFields } from "../http/validation.ts";
import { show, showToAll, type WebContext } from "./app.ts";
import { renderBody } from "./body.ts";
import { textOf } from "./fields.ts";
import { articlePage } from "./pages/article.tsx";
import { articlePath } from "./parts/article.tsx";
import { problemsOf } from "./problems.ts";
import { redirectTo, refererPath, sameOriginForms } from "./requests.ts";

const COMMENTS_PER_PAGE = 50;

/** An article with its comments, and the forms on it. */
export function articleRoutes(web: WebContext) {
  const { db, memory, sessions } = web;
  const { limit } = web.writeLimits;
  const sameOrigin = sameOriginForms(web.baseUrl);

  async function readArticle(viewerId: string | null, slug: string, cursor: CommentsPage["cursor"]) {
    const [found, comments] = await Promise.all([
      findArticle(db, viewerId, slug),
      listComments(db, viewerId, slug, { limit: COMMENTS_PER_PAGE, cursor }),
    ]);
    const { article } = found.value;
    const body = await renderBody(article.body);
    const { comments: shown, nextCursor: olderComments } = comments.value;
    const props = { article: { ...article, body }, comments: shown, olderComments };
    return { props, topics: [...found.topics, ...comments.topics] };
  }

  return new Hono()
    .get("/article/:slug", sessions.optionalViewer, (c) => {
      const slug = c.req.param("slug");
      const { cursor } = parse(CommentsQuery, { cursor: c.req.query("comments") }, "comments");
      const key = `article ${JSON.stringify([slug, cursor])}`;
      return showToAll(c, web, articlePage, key, (viewerId) => readArticle(viewerId, slug, cursor));
    })

    .post("/article/:slug/favorite", sameOrigin, sessions.requireSession, limit("favorites"), async (c) => {
      const slug = c.req.param("slug");
      await memory.changed((await favorite(db, c.var, slug)).changed);
      return redirectTo(c, refererPath(c) ?? articlePath(slug));
    })

    .post("/article/:slug/unfavorite", sameOrigin, sessions.requireSession, limit("favorites"), async (c) => {
      const slug = c.req.param("slug");
      await memory.changed((await unfavorite(db, c.var, slug)).changed);
      return redirectTo(c, refererPath(c) ?? articlePath(slug));
    })

    .post("/article/:slug/delete", sameOrigin, sessions.requireSession, async (c) => {
      await memory.changed((await deleteArticle(db, c.var, c.req.param("slug"), web.isDeletionRemembered)).changed);
      return redirectTo(c, "/");
    })

    .post("/article/:slug/comments", sameOrigin, sessions.requireViewer, async (c) => {
      const slug = c.req.param("slug");
      const text = textOf(await readFields(c.req.raw, COMMENT_REQUEST_SIZE_MAX), "body");
      try {
        web.writeLimits.count(c, "comments", c.var.userId);
        const { comment } = parse(NewCommentBody, { comment: { body: text } }, "comment");
        await memory.changed((await insertComment(db, c.var, slug, comment.body)).changed);
      } catch (error) {
        const { status, texts } = problemsOf(c, error);
        const { props } = await readArticle(c.var.viewer.id, slug, undefined);
        return show(c, web, articlePage, { ...props, draft: { text, problems: texts } }, { status });
      }
      return redirectTo(c, articlePath(slug));
    })

    .post("/article/:slug/comments/:id/delete", sameOrigin, sessions.requireSession, async (c) => {
      const slug = c.req.param("slug");
      await memory.changed((await deleteComment(db, c.var, slug, c.req.param("id"))).changed);
      return redirectTo(c, articlePath(slug));
    });
}
