import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { type LeftJoined, rowMapper } from "../../db/rows.ts";
import { batch } from "../../db/statements.ts";
import { invalid, notFound } from "../../http/errors.ts";
import {
  type CurrentSession,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import { sameKey } from "../identity/users/rules.ts";
import { Profile } from "./schema.ts";
import { readForViewer, rowsForViewer, type Viewer, viewerGone } from "./viewer.ts";

/**
 * The columns of a profile, of `users u`, in every statement that returns one.
 * @param following SQL for whether the viewer follows this user, where the statement knows
 */
export const profileColumns = (viewer: Viewer, following = followedBy(viewer)): string =>
  `u.username, u.bio, u.image, ${following} as following`;

const followedBy = (viewer: Viewer): string =>
  viewer === null ? "false" : `exists (select from follows where follower_id = ${viewer} and followee_id = u.id)`;

/** The profile in a row with the columns of `profileColumns`. */
export const profileOf = rowMapper(Profile);

/** A profile, as the viewer sees it. Throws 404. */
export async function findProfile(
  db: Database,
  viewerId: string | null,
  username: string,
): Promise<{ profile: Profile; viewerGone: boolean }> {
  const [row] = await rowsForViewer(db, PROFILE, viewerId, { username: sameKey(username) });
  if (row === undefined) throw notFound("profile");
  return { profile: profileOf(row), viewerGone: row.viewerGone };
}

const PROFILE = readForViewer<Profile & { viewerGone: boolean }>(
  "profile",
  (viewer) => `select ${profileColumns(viewer)}, ${viewerGone(viewer)} from users u where u.username_key = :username`,
);

/** Makes the viewer follow a user. Idempotent. Throws 401, 404, and 422 if the user is the viewer. */
export async function follow(db: Database, viewer: CurrentSession, username: string): Promise<Profile> {
  const outcome = await changeFollow(db, viewer, username, true);
  if (outcome?.oneself) throw invalid({ profile: ["can't follow yourself"] });
  return profileIn(outcome);
}

/** Ends following a user. Idempotent. Throws 401, 404. */
export async function unfollow(db: Database, viewer: CurrentSession, username: string): Promise<Profile> {
  return profileIn(await changeFollow(db, viewer, username, false));
}

async function changeFollow(
  db: Database,
  viewer: CurrentSession,
  username: string,
  following: boolean,
): Promise<FollowOutcome | undefined> {
  try {
    return await db.row(FOLLOW, { ...sessionParameters(viewer), username: sameKey(username), following });
  } catch (error) {
    // One of the two accounts was deleted after the statement had read it.
    if (violatedConstraint(error) === "follows_follower_id_fkey") throw sessionEnded();
    if (violatedConstraint(error) === "follows_followee_id_fkey") throw notFound("profile");
    throw error;
  }
}

/** `viewer` is null if the session has ended, the other columns if there is no such user. */
type FollowOutcome = { viewer: string | null; oneself: boolean | null } & LeftJoined<Profile & { followeeId: string }>;

const FOLLOW = batch<FollowOutcome>(
  "follow",
  { types: { ...SESSION_TYPES, username: "text", following: "boolean" }, key: ["viewerId", "username"] },
  `wish as materialized (
     select item.place, item.following, viewer, followee_id, u.username, bio, image
       from item left join lateral (${userOfItem("id as viewer")}) v on true
            left join lateral (
              select id as followee_id, username, bio, image from users where username_key = item.username limit 1) u on true),
   added as (
     insert into follows (follower_id, followee_id)
     select viewer, followee_id from wish where following and viewer <> followee_id order by viewer, followee_id
     on conflict do nothing),
   removed as (
     delete from follows f using wish w
      where not w.following and f.follower_id = w.viewer and f.followee_id = w.followee_id)
   select place, viewer, viewer = followee_id as oneself, followee_id as "followeeId", ${profileColumns(null, "u.following")}
     from wish u`,
);

function profileIn(outcome: FollowOutcome | undefined): Profile {
  if (outcome?.viewer == null) throw sessionEnded();
  if (outcome.username === null) throw notFound("profile");
  return profileOf(outcome);
}
