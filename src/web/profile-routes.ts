import { type Context, Hono } from "hono";
import { listArticles } from "../features/articles/lists.ts";
import { findProfile, follow, unfollow } from "../features/profiles/queries.ts";
import { showToAll, type WebContext } from "./app.ts";
import type { WithViewer } from "./browser-session.ts";
import { profilePage } from "./pages/profile.tsx";
import { pageOf } from "./parts/pagination.tsx";
import { profilePath } from "./parts/people.tsx";
import { pageNumber, redirectTo, refererPath, sameOriginForms } from "./requests.ts";

/** A profile with what the user has written, or favorited. */
export function profileRoutes(web: WebContext) {
  const { db, memory, sessions } = web;
  const { limit } = web.writeLimits;
  const sameOrigin = sameOriginForms(web.baseUrl);

  function showProfile(c: Context<WithViewer>, username: string, isFavorites: boolean): Promise<Response> {
    const page = pageNumber(c);
    const filters = { ...pageOf(page), [isFavorites ? "favorited" : "author"]: username };
    return showToAll(c, web, profilePage, `profile ${JSON.stringify([filters])}`, async (viewerId) => {
      const [found, list] = await Promise.all([
        findProfile(db, viewerId, username),
        listArticles(db, viewerId, filters),
      ]);
      const { profile } = found.value;
      return { props: { profile, isFavorites, list: list.value, page }, topics: [...found.topics, ...list.topics] };
    });
  }

  return new Hono()
    .get("/profile/:username", sessions.optionalViewer, (c) => showProfile(c, c.req.param("username"), false))

    .get("/profile/:username/favorites", sessions.optionalViewer, (c) => showProfile(c, c.req.param("username"), true))

    .post("/profile/:username/follow", sameOrigin, sessions.requireSession, limit("follows"), async (c) => {
      const username = c.req.param("username");
      await memory.changed((await follow(db, c.var, username)).changed);
      return redirectTo(c, refererPath(c) ?? profilePath(username));
    })

    .post("/profile/:username/unfollow", sameOrigin, sessions.requireSession, limit("follows"), async (c) => {
      const username = c.req.param("username");
      await memory.changed((await unfollow(db, c.var, username)).changed);
      return redirectTo(c, refererPath(c) ?? profilePath(username));
    });
}
