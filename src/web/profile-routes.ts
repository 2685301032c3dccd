import { type Context, Hono } from "hono";
import { listArticles } from "../features/articles/lists.ts";
import { findProfile, follow, unfollow } from "../features/profiles/queries.ts";
import { show, type WebContext } from "./app.ts";
import type { WithViewer } from "./browser-session.ts";
import { profilePage } from "./pages/profile.tsx";
import { PAGE_SIZE } from "./parts/pagination.tsx";
import { profilePath } from "./parts/people.tsx";
import { pageNumber, redirectTo, refererPath, sameOriginForms } from "./requests.ts";

/** A profile with what the user has written, or favorited. */
export function profileRoutes(web: WebContext) {
  const { db, sessions } = web;
  const { limit } = web.writeLimits;
  const sameOrigin = sameOriginForms(web.baseUrl);

  async function showProfile(c: Context<WithViewer>, username: string, isFavorites: boolean): Promise<Response> {
    const page = pageNumber(c);
    const viewerId = c.var.viewer?.id ?? null;
    const filters = {
      limit: PAGE_SIZE,
      offset: (page - 1) * PAGE_SIZE,
      cursor: undefined,
      tag: undefined,
      author: isFavorites ? undefined : username,
      favorited: isFavorites ? username : undefined,
    };
    const [{ profile }, { articles, articlesCount }] = await Promise.all([
      findProfile(db, viewerId, username),
      listArticles(db, viewerId, filters),
    ]);
    return show(c, web, profilePage, { profile, isFavorites, list: { articles, articlesCount }, page });
  }

  return new Hono()
    .get("/profile/:username", sessions.optionalViewer, (c) => showProfile(c, c.req.param("username"), false))

    .get("/profile/:username/favorites", sessions.optionalViewer, (c) => showProfile(c, c.req.param("username"), true))

    .post("/profile/:username/follow", sameOrigin, sessions.requireSession, limit("follows"), async (c) => {
      const username = c.req.param("username");
      await follow(db, c.var, username);
      return redirectTo(c, refererPath(c) ?? profilePath(username));
    })

    .post("/profile/:username/unfollow", sameOrigin, sessions.requireSession, limit("follows"), async (c) => {
      const username = c.req.param("username");
      await unfollow(db, c.var, username);
      return redirectTo(c, refererPath(c) ?? profilePath(username));
    });
}
