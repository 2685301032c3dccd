import { type Context, Hono } from "hono";
import { deleteArticle, favorite, findArticle, unfavorite } from "../features/articles/queries.ts";
import { deleteComment, insertComment, listComments } from "../features/comments/queries.ts";
import { COMMENT_REQUEST_SIZE_MAX, CommentsQuery, NewCommentBody } from "../features/comments/schema.ts";
import { parse, readFields } from "../http/validation.ts";
import { show, type WebContext } from "./app.ts";
import { renderBody } from "./body.ts";
import { textOf } from "./fields.ts";
import { articlePage } from "./pages/article.tsx";
import { articlePath } from "./parts/article.tsx";
import { type Problems, problemsOf } from "./problems.ts";
import { redirectTo, refererPath, sameOriginForms } from "./requests.ts";

const COMMENTS_PER_PAGE = 50;

/** An article with its comments, and the forms on it. */
export function articleRoutes(web: WebContext) {
  const { db, sessions } = web;
  const { limit } = web.writeLimits;
  const sameOrigin = sameOriginForms(web.baseUrl);

  /** @param draft a comment that was not accepted */
  async function showArticle(
    c: Context,
    viewerId: string | null,
    slug: string,
    draft?: { text: string; problems: Problems },
  ): Promise<Response> {
    const { cursor } = parse(CommentsQuery, { cursor: c.req.query("comments") }, "comments");
    const [{ article }, { comments, nextCursor }] = await Promise.all([
      findArticle(db, viewerId, slug),
      listComments(db, viewerId, slug, { limit: COMMENTS_PER_PAGE, cursor }),
    ]);
    const body = await renderBody(article.body);
    const props = { article: { ...article, body }, comments, olderComments: nextCursor };
    if (draft === undefined) return show(c, web, articlePage, props);
    const { text, problems } = draft;
    return show(
      c,
      web,
      articlePage,
      { ...props, draft: { text, problems: problems.texts } },
      { status: problems.status },
    );
  }

  return new Hono()
    .get("/article/:slug", sessions.optionalViewer, (c) =>
      showArticle(c, c.var.viewer?.id ?? null, c.req.param("slug")),
    )

    .post("/article/:slug/favorite", sameOrigin, sessions.requireSession, limit("favorites"), async (c) => {
      const slug = c.req.param("slug");
      await favorite(db, c.var, slug);
      return redirectTo(c, refererPath(c) ?? articlePath(slug));
    })

    .post("/article/:slug/unfavorite", sameOrigin, sessions.requireSession, limit("favorites"), async (c) => {
      const slug = c.req.param("slug");
      await unfavorite(db, c.var, slug);
      return redirectTo(c, refererPath(c) ?? articlePath(slug));
    })

    .post("/article/:slug/delete", sameOrigin, sessions.requireSession, async (c) => {
      await deleteArticle(db, c.var, c.req.param("slug"));
      return redirectTo(c, "/");
    })

    .post("/article/:slug/comments", sameOrigin, sessions.requireViewer, async (c) => {
      const slug = c.req.param("slug");
      const text = textOf(await readFields(c.req.raw, COMMENT_REQUEST_SIZE_MAX), "body");
      try {
        web.writeLimits.count(c, "comments", c.var.userId);
        const { comment } = parse(NewCommentBody, { comment: { body: text } }, "comment");
        await insertComment(db, c.var, slug, comment.body);
      } catch (error) {
        return showArticle(c, c.var.viewer.id, slug, { text, problems: problemsOf(c, error) });
      }
      return redirectTo(c, articlePath(slug));
    })

    .post("/article/:slug/comments/:id/delete", sameOrigin, sessions.requireSession, async (c) => {
      const slug = c.req.param("slug");
      await deleteComment(db, c.var, slug, c.req.param("id"));
      return redirectTo(c, articlePath(slug));
    });
}
