import { Hono } from "hono";
import { findArticle } from "../features/articles/queries.ts";
import { compareRevisions, listRevisions } from "../features/articles/revisions/queries.ts";
import { restoreByRequest } from "../features/articles/revisions/routes.ts";
import { RevisionsQuery } from "../features/articles/revisions/schema.ts";
import { parse } from "../http/validation.ts";
import { show, type WebContext } from "./app.ts";
import { revisionPage, revisionsPage } from "./pages/revisions.tsx";
import { articlePath } from "./parts/article.tsx";
import { redirectTo, sameOriginForms } from "./requests.ts";

/** The former versions of an article, for its author. */
export function revisionRoutes(web: WebContext) {
  const { db, memory, sessions, writeLimits } = web;
  const sameOrigin = sameOriginForms(web.baseUrl);

  return new Hono()
    .get("/editor/:slug/revisions", sessions.requireViewer, async (c) => {
      const slug = c.req.param("slug");
      const { id } = c.var.viewer;
      // Redirects from a former slug.
      await findArticle(db, id, slug);
      const page = parse(RevisionsQuery, { cursor: c.req.query("cursor") }, "revisions");
      return show(c, web, revisionsPage, { slug, list: await listRevisions(db, id, slug, page) }, { isPersonal: true });
    })

    .get("/editor/:slug/revisions/:number", sessions.requireViewer, async (c) => {
      const { slug, number } = c.req.param();
      const diff = await compareRevisions(db, c.var.viewer.id, slug, number, null);
      return show(c, web, revisionPage, { slug, diff }, { isPersonal: true });
    })

    .post(
      "/editor/:slug/revisions/:number/restore",
      sameOrigin,
      sessions.requireSession,
      writeLimits.limit("articles"),
      async (c) => {
        const { slug, number } = c.req.param();
        const article = await restoreByRequest(c, db, memory, writeLimits, c.var, slug, number);
        return redirectTo(c, articlePath(article.slug));
      },
    );
}
