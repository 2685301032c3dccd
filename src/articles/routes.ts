import { Hono } from "hono";
import { type Guards, markBadToken } from "../auth/guards.ts";
import type { Database } from "../platform/database.ts";
import { body, json, query } from "../platform/http.ts";
import { listArticles, listFeed } from "./lists.ts";
import { deleteArticle, favorite, findArticle, insertArticle, unfavorite, updateArticle } from "./queries.ts";
import { ListQuery, NewArticleBody, PageQuery, UpdateArticleBody } from "./schema.ts";

export function articleRoutes(db: Database, { requireUser, optionalUser }: Guards) {
  return new Hono()
    .get("/articles", optionalUser, query(ListQuery), async (c) => {
      const list = await listArticles(db, c.var.viewerId, c.var.query);
      if (list.viewerGone) markBadToken(c);
      return json(c, list.json);
    })

    .get("/articles/feed", requireUser, query(PageQuery), async (c) => {
      return json(c, await listFeed(db, c.var.userId, c.var.query));
    })

    .post("/articles", requireUser, body(NewArticleBody), async (c) => {
      return json(c, articleResponse(await insertArticle(db, c.var.userId, c.var.body.article)), 201);
    })

    .get("/articles/:slug", optionalUser, async (c) => {
      const article = await findArticle(db, c.var.viewerId, c.req.param("slug"));
      if (article.viewerGone) markBadToken(c);
      return json(c, articleResponse(article.json));
    })

    .put("/articles/:slug", requireUser, body(UpdateArticleBody), async (c) => {
      const article = await updateArticle(db, c.var.userId, c.req.param("slug"), c.var.body.article);
      return json(c, articleResponse(article));
    })

    .delete("/articles/:slug", requireUser, async (c) => {
      await deleteArticle(db, c.var.userId, c.req.param("slug"));
      return c.body(null, 204);
    })

    .post("/articles/:slug/favorite", requireUser, async (c) => {
      return json(c, articleResponse(await favorite(db, c.var.userId, c.req.param("slug"))));
    })

    .delete("/articles/:slug/favorite", requireUser, async (c) => {
      return json(c, articleResponse(await unfavorite(db, c.var.userId, c.req.param("slug"))));
    });
}

const articleResponse = (article: string): string => `{"article":${article}}`;
