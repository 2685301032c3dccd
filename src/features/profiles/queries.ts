import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { type LeftJoined, rowMapper } from "../../db/rows.ts";
import { write } from "../../db/statements.ts";
import { invalid, notFound } from "../../http/errors.ts";
import { type CurrentSession, currentUser, sessionEnded, sessionParameters } from "../identity/current-session.ts";
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
  try {
    const outcome = await db.row(FOLLOW, { ...sessionParameters(viewer), username: sameKey(username) });
    if (outcome?.oneself) throw invalid({ profile: ["can't follow yourself"] });
    return profileIn(outcome);
  } catch (error) {
    // One of the two accounts was deleted after the statement had read it.
    if (violatedConstraint(error) === "follows_follower_id_fkey") throw sessionEnded();
    if (violatedConstraint(error) === "follows_followee_id_fkey") throw notFound("profile");
    throw error;
  }
}

/** `viewer` is null if the session has ended, the other columns if there is no such user. */
type FollowOutcome = { viewer: string | null; oneself: boolean | null } & LeftJoined<Profile & { followeeId: string }>;

const FOLLOW = write<FollowOutcome>(
  "follow",
  `with viewer as (${currentUser("id")}),
        u as (select * from users where username_key = :username),
        added as (
          insert into follows (follower_id, followee_id)
          select v.id, u.id from viewer v, u where v.id <> u.id
          on conflict do nothing)
   select v.id as viewer, v.id = u.id as oneself, u.id as "followeeId", ${profileColumns(null, "true")}
     from (select) as one left join viewer v on true left join u on true`,
);

/** Ends following a user. Idempotent. Throws 401, 404. */
export async function unfollow(db: Database, viewer: CurrentSession, username: string): Promise<Profile> {
  return profileIn(await db.row(UNFOLLOW, { ...sessionParameters(viewer), username: sameKey(username) }));
}

const UNFOLLOW = write<FollowOutcome>(
  "unfollow",
  `with viewer as (${currentUser("id")}),
        u as (select * from users where username_key = :username),
        removed as (
          delete from follows f using viewer v, u where f.follower_id = v.id and f.followee_id = u.id)
   select v.id as viewer, v.id = u.id as oneself, u.id as "followeeId", ${profileColumns(null, "false")}
     from (select) as one left join viewer v on true left join u on true`,
);

function profileIn(outcome: FollowOutcome | undefined): Profile {
  if (outcome?.viewer == null) throw sessionEnded();
  if (outcome.username === null) throw notFound("profile");
  return profileOf(outcome);
}
