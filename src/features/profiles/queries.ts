import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { type LeftJoined, rowMapper } from "../../db/rows.ts";
import { batch } from "../../db/statements.ts";
import { invalid, notFound } from "../../http/errors.ts";
import { Moved } from "../../http/moved.ts";
import { topics } from "../../memory/topics.ts";
import {
  type CurrentSession,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import { sameKey } from "../identity/users/rules.ts";
import { Profile } from "./schema.ts";
import type { Seen } from "./shared-reads.ts";
import { readForViewer, rowsForViewer, type Viewer, viewerGone } from "./viewer.ts";

/**
 * The columns of a profile, of `users u`, in every statement that returns one.
 * @param following SQL for whether the viewer follows this user, where the statement knows
 */
export const profileColumns = (viewer: Viewer, following = followedBy(viewer)): string =>
  `u.id as "userId", u.username, u.bio, u.image, ${following} as following`;

/** The id of a profile's user, which is not part of the API. */
export type ProfileId = { readonly userId: string };

const followedBy = (viewer: Viewer): string =>
  viewer === null ? "false" : `exists (select from follows where follower_id = ${viewer} and followee_id = u.id)`;

/** The profile in a row with the columns of `profileColumns`. */
export const profileOf = rowMapper(Profile);

/** What a response with these profiles depends on, and whose flags it has. */
export const seenProfiles = (rows: readonly ProfileId[]): Required<Pick<Seen, "ids" | "topics">> => ({
  ids: { favorited: [], following: rows.map((row) => row.userId) },
  topics: rows.map((row) => topics.user(row.userId)),
});

/** A profile, as the viewer sees it. Throws 404, and `Moved` if the user has another name now. */
export async function findProfile(
  db: Database,
  viewerId: string | null,
  username: string,
): Promise<Seen<{ profile: Profile }>> {
  const key = sameKey(username);
  const [row] = await rowsForViewer(db, PROFILE, viewerId, { username: key });
  if (row === undefined) throw notFound("profile");
  if (row.usernameKey !== key) throw new Moved("username", row.username);
  return { value: { profile: profileOf(row) }, viewerGone: row.viewerGone, ...seenProfiles([row]) };
}

const PROFILE = readForViewer<Profile & ProfileId & { usernameKey: string; viewerGone: boolean }>(
  "profile",
  (viewer) => `select ${profileColumns(viewer)}, u.username_key as "usernameKey", ${viewerGone(viewer)}
     from (select * from users where username_key = :username
            union all
           select u.* from former_usernames f join users u on u.id = f.user_id where f.username_key = :username
            limit 1) u`,
);

/** A profile after a write, and what the write has changed. */
type WrittenProfile = { readonly profile: Profile; readonly changed: readonly string[] };

/** Makes the viewer follow a user. Idempotent. Throws 401, 404, and 422 if the user is the viewer. */
export async function follow(db: Database, viewer: CurrentSession, username: string): Promise<WrittenProfile> {
  const outcome = await changeFollow(db, viewer, username, true);
  if (outcome?.oneself) throw invalid({ profile: ["can't follow yourself"] });
  return written(outcome);
}

/** Ends following a user. Idempotent. Throws 401, 404. */
export async function unfollow(db: Database, viewer: CurrentSession, username: string): Promise<WrittenProfile> {
  return written(await changeFollow(db, viewer, username, false));
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
type FollowOutcome = { viewer: string | null; oneself: boolean | null } & LeftJoined<Profile>;

const FOLLOW = batch<FollowOutcome>(
  "follow",
  { types: { ...SESSION_TYPES, username: "text", following: "boolean" }, key: ["viewerId", "username"] },
  `wish as materialized (
     select item.place, item.following, viewer, u.id, u.username, bio, image
       from item left join lateral (${userOfItem("id as viewer")}) v on true
            left join lateral (
              select id, username, bio, image from users where username_key = item.username limit 1) u on true),
   added as (
     insert into follows (follower_id, followee_id)
     select viewer, wish.id from wish where following and viewer <> wish.id order by viewer, wish.id
     on conflict do nothing),
   removed as (
     delete from follows f using wish w
      where not w.following and f.follower_id = w.viewer and f.followee_id = w.id)
   select place, viewer, viewer = u.id as oneself, ${profileColumns(null, "u.following")}
     from wish u`,
);

function written(outcome: FollowOutcome | undefined): WrittenProfile {
  if (outcome?.viewer == null) throw sessionEnded();
  if (outcome.username === null) throw notFound("profile");
  // Also if nothing was to do, which this server may not know yet: the next read must agree with this response.
  return { profile: profileOf(outcome), changed: [topics.follows(outcome.viewer)] };
}
