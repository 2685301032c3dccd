import { Hono } from "hono";
import { type Guards, markBadToken } from "../auth/guards.ts";
import type { Database } from "../platform/database.ts";
import { json } from "../platform/http.ts";
import { findProfile, follow, unfollow } from "./queries.ts";

export function profileRoutes(db: Database, { requireUser, optionalUser }: Guards) {
  return new Hono()
    .get("/profiles/:username", optionalUser, async (c) => {
      const profile = await findProfile(db, c.var.viewerId, c.req.param("username"));
      if (profile.viewerGone) markBadToken(c);
      return json(c, profileResponse(profile.json));
    })

    .post("/profiles/:username/follow", requireUser, async (c) => {
      return json(c, profileResponse(await follow(db, c.var.userId, c.req.param("username"))));
    })

    .delete("/profiles/:username/follow", requireUser, async (c) => {
      return json(c, profileResponse(await unfollow(db, c.var.userId, c.req.param("username"))));
    });
}

const profileResponse = (profile: string): string => `{"profile":${profile}}`;
