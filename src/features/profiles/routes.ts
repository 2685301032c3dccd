import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { json } from "../../http/validation.ts";
import type { Memory } from "../../memory/memory.ts";
import type { Guards } from "../identity/guards.ts";
import { sameKey } from "../identity/users/rules.ts";
import type { WriteLimits } from "../identity/write-limits.ts";
import { findProfile, follow, unfollow } from "./queries.ts";
import { ProfileResponse } from "./schema.ts";
import type { SharedReads } from "./shared-reads.ts";

export function profileRoutes(
  db: Database,
  memory: Memory,
  shared: SharedReads,
  { requireUser, optionalUser }: Guards,
  { limit }: WriteLimits,
) {
  return new Hono()
    .get(
      "/profiles/:username",
      optionalUser,
      (c) => {
        const name = sameKey(c.req.param("username"));
        return shared.respond(c, `profile ${name}`, (viewerId) => findProfile(db, viewerId, name));
      },
      describeRoute({
        operationId: "GetProfileByUsername",
        tag: "Profile",
        summary: "Get a profile",
        description: "The public profile of a user. A former name redirects, until another user takes it.",
        responses: { 200: ProfileResponse, 304: null, 308: null },
        errors: ["not_found"],
      }),
    )

    .post(
      "/profiles/:username/follow",
      requireUser,
      limit("follows"),
      async (c) => {
        const { profile, changed } = await follow(db, c.var, c.req.param("username"));
        await memory.changed(changed);
        return json(c, { profile });
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
        const { profile, changed } = await unfollow(db, c.var, c.req.param("username"));
        await memory.changed(changed);
        return json(c, { profile });
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
