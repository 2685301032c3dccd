import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { write } from "../../db/statements.ts";
import { invalid, notFound } from "../../http/errors.ts";
import { userMissing } from "../identity/guards.ts";
import { sameKey } from "../identity/users/rules.ts";
import { readByViewer, rowSeen, type Seen, viewerGone } from "./viewer.ts";

/**
 * An author as JSON text, an SQL expression, in every statement that returns one: of `users u`, seen by a viewer (SQL, null
 * for nobody), which takes one probe of an index. Null where `u` is.
 */
export const authorSeenBy = (viewer: string): string =>
  authorJson(`${viewer} is not null and exists (
    select from follows where follower_id = ${viewer} and followee_id = u.id)`);

function authorJson(following: string): string {
  return `'{' || u.json_members || case when ${following} then ',"following":true}' else ',"following":false}' end`;
}

/** What a request for one profile is answered with. */
const profileAnswer = (author: string): string => `'{"profile":' || ${author} || '}' as answer`;

/** A profile, seen by a viewer. Throws 404. */
export async function findProfile(db: Database, viewerId: string | null, username: string): Promise<Seen> {
  const profile = await rowSeen(db, PROFILE, viewerId, [sameKey(username)]);
  if (profile === undefined) throw notFound("profile");
  return { answer: profile.answer, viewerGone: profile.viewer_gone };
}

const PROFILE = readByViewer<{ answer: string; viewer_gone: boolean }>(
  "profile",
  (viewer) =>
    `select ${profileAnswer(authorSeenBy(viewer))}, ${viewerGone(viewer)} from users u where u.username_key = $1`,
);

/** Makes the viewer follow a user. Idempotent. Throws 401, 404, 422 for oneself. Returns the profile as JSON text. */
export async function follow(db: Database, viewerId: string, username: string): Promise<string> {
  try {
    const outcome = await db.row(FOLLOW, [viewerId, sameKey(username)]);
    if (outcome?.oneself) throw invalid({ profile: ["can't follow yourself"] });
    return profileOf(outcome);
  } catch (error) {
    // Either was deleted between the statement's look and its insert.
    if (violatedConstraint(error) === "follows_follower_id_fkey") throw userMissing();
    if (violatedConstraint(error) === "follows_followee_id_fkey") throw notFound("profile");
    throw error;
  }
}

/** Outcome columns: `viewer` and `answer` are null where there is no such user. */
type FollowOutcome = { viewer: string | null; answer: string | null; oneself: boolean };

const FOLLOW = write<FollowOutcome>(
  "follow",
  `with viewer as (select id from users where id = $1::bigint),
        target as (select id, json_members from users where username_key = $2),
        added as (
          insert into follows (follower_id, followee_id)
          select v.id, t.id from viewer v, target t where v.id <> t.id
          on conflict do nothing)
   select v.id as viewer, ${profileAnswer(authorJson("true"))}, v.id = u.id as oneself
     from (select) as one left join viewer v on true left join target u on true`,
);

/** Ends it. Idempotent. Throws 401, 404. Returns the profile as JSON text. */
export async function unfollow(db: Database, viewerId: string, username: string): Promise<string> {
  const outcome = await db.row(UNFOLLOW, [viewerId, sameKey(username)]);
  return profileOf(outcome);
}

const UNFOLLOW = write<FollowOutcome>(
  "unfollow",
  `with viewer as (select id from users where id = $1::bigint),
        target as (select id, json_members from users where username_key = $2),
        removed as (
          delete from follows f using viewer v, target t where f.follower_id = v.id and f.followee_id = t.id)
   select v.id as viewer, ${profileAnswer(authorJson("false"))}, v.id = u.id as oneself
     from (select) as one left join viewer v on true left join target u on true`,
);

function profileOf(outcome: FollowOutcome | undefined): string {
  if (outcome?.viewer == null) throw userMissing();
  if (outcome.answer === null) throw notFound("profile");
  return outcome.answer;
}
