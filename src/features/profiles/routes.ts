import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { json } from "../../http/validation.ts";
import { type Guards, markBadToken } from "../identity/guards.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import { findProfile, follow, unfollow } from "./queries.ts";
import { ProfileResponse } from "./schema.ts";

export function profileRoutes(db: Database, { requireUser, optionalUser }: Guards, { limit }: WriteLimits) {
  return new Hono()
    .get(
      "/profiles/:username",
      optionalUser,
      async (c) => {
        const { profile, viewerGone } = await findProfile(db, c.var.viewerId, c.req.param("username"));
        if (viewerGone) markBadToken(c);
        return json(c, { profile });
      },
      describeRoute({
        operationId: "GetProfileByUsername",
        tag: "Profile",
        summary: "Get a profile",
        description: "The public profile of a user.",
        responses: { 200: ProfileResponse, 304: null },
        errors: ["not_found"],
      }),
    )

    .post(
      "/profiles/:username/follow",
      requireUser,
      limit("follows"),
      async (c) => {
        return json(c, { profile: await follow(db, c.var, c.req.param("username")) });
      },
      describeRoute({
        operationId: "FollowUserByUsername",
        tag: "Profile",
        summary: "Follow a user",
        description: "Has no effect if you already follow the user. You cannot follow yourself.",
        responses: { 200: ProfileResponse },
        errors: ["not_found", "invalid"],
      }),
    )

    .delete(
      "/profiles/:username/follow",
      requireUser,
      limit("follows"),
      async (c) => {
        return json(c, { profile: await unfollow(db, c.var, c.req.param("username")) });
      },
      describeRoute({
        operationId: "UnfollowUserByUsername",
        tag: "Profile",
        summary: "Unfollow a user",
        description: "Has no effect if you do not follow the user.",
        responses: { 200: ProfileResponse },
        errors: ["not_found"],
      }),
    );
}
