import { violatedConstraint } from "../../../db/errors.ts";
import type { Database, Queries } from "../../../db/pool.ts";
import { rowMapper } from "../../../db/rows.ts";
import { read, write } from "../../../db/statements.ts";
import { taken } from "../../../http/errors.ts";
import { enqueueMail, type NewLink } from "../../../mail/queue.ts";
import { topics } from "../../../memory/topics.ts";
import { type CurrentSession, lockCurrentUser, sessionEnded } from "../current-session.ts";
import { type Address, addLink, endAddressChange, endLinks, requireNotReserved } from "../email-links.ts";
import { sendVerification } from "../email-verification/queries.ts";
import { greetingName, type LockedUser, lockUser } from "../lock-user.ts";
import {
  type Client,
  endSessions,
  type OpenedSession,
  openSession,
  revokeIdleSessions,
  type SessionLimits,
} from "../sessions/queries.ts";
import type { Revocation } from "../sessions/revocations.ts";
import { emailKeyOf } from "./emails.ts";
import { skeletonOf } from "./names.ts";
import { wrongCurrentPassword } from "./new-passwords.ts";
import { sameKey } from "./rules.ts";
import { User, type UserUpdate } from "./schema.ts";

/** A row with the columns of `USER`. */
export type UserRow = Omit<User, "token"> & { readonly id: string };

/** A user, as users see themselves, with the token of their request. */
export const userOf: (row: UserRow & { token: string }) => User = rowMapper(User);

const USER = "id, username, email, email_verified_at is not null as email_verified, bio, image";

export type NewUser = { readonly username: string; readonly email: string; readonly passwordHash: string };

/**
 * Adds a user with a first session, and enqueues the email with the verification link. Returns what that has changed for
 * readers, too. Throws 409 with the fields that another user has.
 * @param link null if no mail is sent
 */
export async function registerUser(
  db: Database,
  { username, email, passwordHash }: NewUser,
  link: NewLink | null,
  client: Client,
  limits: SessionLimits,
): Promise<{ user: UserRow; session: OpenedSession; changed: readonly string[] }> {
  const emailKey = emailKeyOf(email);
  const keys = { ...usernameKeys(username), emailKey, exceptId: null };
  try {
    return await db.transaction(async (tx) => {
      const user = await tx.row(USER_INSERT, { ...keys, email, passwordHash });
      if (user === undefined) throw new Error("an insert without a conflict clause returned no row");
      await requireNotReserved(tx, user.id, emailKey);
      await tx.rows(FORMER_NAME_FORGET, [keys.usernameKey]);
      const session = await openSession(tx, user.id, client, limits);
      if (link !== null) await sendVerification(tx, user, { email, emailKey }, link);
      return { user, session, changed: [topics.name(sameKey(username))] };
    });
  } catch (error) {
    throw await asTaken(error, db, keys);
  }
}

const USER_INSERT = write<UserRow>(
  "user_insert",
  `insert into users (username, username_key, username_skeleton, email, email_key, password_hash)
   values (:username, :usernameKey, :usernameSkeleton, :email, :emailKey, :passwordHash)
   returning ${USER}`,
);

/**
 * The user with this email, with the hash of the password; undefined if there is none.
 * @param network where the request comes from: `isKnown` if the user has had a session there in the last 30 days
 */
export async function findForLogin(
  db: Database,
  emailKey: string,
  network: string | null,
): Promise<{ user: UserRow; passwordHash: string; isKnown: boolean } | undefined> {
  const row = await db.row(USER_FOR_LOGIN, [emailKey, network]);
  return row && { user: row, passwordHash: row.password_hash, isKnown: row.is_known };
}

const USER_FOR_LOGIN = read<UserRow & { password_hash: string; is_known: boolean }>(
  "user_for_login",
  `select ${USER}, password_hash,
          exists (select from known_networks n
                   where n.user_id = users.id and n.network = $2 and n.last_used_at > now() - interval '30 days')
            as is_known
     from users where email_key = $1`,
);

/** The hash of the current password. Throws 401 if the user no longer exists. */
export async function findPasswordHash(db: Database, userId: string): Promise<string> {
  const row = await db.row(PASSWORD_HASH, [userId]);
  if (row === undefined) throw sessionEnded();
  return row.password_hash;
}

const PASSWORD_HASH = read<{ password_hash: string }>(
  "password_hash",
  "select password_hash from users where id = $1::bigint",
);

/**
 * Opens a session for a user whose password was right, and revokes the sessions that were idle longest beyond the limit.
 * Undefined if the password has changed or the user was deleted while the password was being checked.
 */
export function signIn(
  db: Database,
  { id, passwordHash }: { id: string; passwordHash: string },
  client: Client,
  limits: SessionLimits,
): Promise<{ session: OpenedSession; revoked: Revocation[] } | undefined> {
  return db.transaction(async (tx) => {
    const user = await lockUser(tx, id);
    if (user?.password_hash !== passwordHash) return undefined;
    const revoked = await revokeIdleSessions(tx, id, limits.sessionsMax - 1);
    const session = await openSession(tx, id, client, limits);
    return { session, revoked };
  });
}

/** Throws 401 if the user no longer exists. */
export async function findUser(db: Database, userId: string): Promise<UserRow> {
  const user = await db.row(USER_BY_ID, [userId]);
  if (user === undefined) throw sessionEnded();
  return user;
}

const USER_BY_ID = read<UserRow>("user_by_id", `select ${USER} from users where id = $1::bigint`);

/** What a change of the current user needs besides the new values. */
export type UpdateOptions = {
  /** Of the current password, if the request proved it; null if it need not. */
  readonly provenHash: string | null;
  /** Of the new password; null if it stays. */
  readonly passwordHash: string | null;
  /** For the email to a new address; null if no mail is sent. */
  readonly link: NewLink | null;
  /** For the email to the old address; null if no mail is sent. */
  readonly undoLink: NewLink | null;
  /** Whether the old address stays until the new one is verified. */
  readonly requireConfirmation: boolean;
};

type UpdatedUser = {
  readonly user: UserRow;
  readonly revoked: Revocation[];
  /** What the update has changed for readers. */
  readonly changed: readonly string[];
};

/**
 * Changes the fields that are not undefined.
 *
 * A new password ends every session but the current one. A new address is unverified and receives a link, and the old one
 * receives a notice, with a link to undo the change if it was verified. Both end the links that were sent before.
 *
 * Throws 401 if the session has ended, 409 with the fields that another user has, 422 if the proven password has changed.
 */
export async function updateUser(
  db: Database,
  session: CurrentSession,
  changes: UserUpdate,
  options: UpdateOptions,
): Promise<UpdatedUser> {
  const keys: UserKeys = {
    ...usernameKeys(changes.username),
    emailKey: changes.email === undefined ? null : emailKeyOf(changes.email),
    exceptId: session.userId,
  };
  try {
    return await db.transaction((tx) => updateLocked(tx, session, changes, keys, options));
  } catch (error) {
    throw await asTaken(error, db, keys);
  }
}

async function updateLocked(
  tx: Queries,
  session: CurrentSession,
  { email, bio, image }: UserUpdate,
  keys: UserKeys,
  { provenHash, passwordHash, link, undoLink, requireConfirmation }: UpdateOptions,
): Promise<UpdatedUser> {
  const { userId, sessionId } = session;
  // The session may have been ended while the password was being hashed, by a password reset for instance.
  const before = await lockCurrentUser(tx, session);
  if (provenHash !== null && before.password_hash !== provenHash) throw wrongCurrentPassword();
  const newAddress =
    email !== undefined && keys.emailKey !== null && keys.emailKey !== before.email_key
      ? { email, emailKey: keys.emailKey }
      : null;
  const waits = newAddress !== null && requireConfirmation;
  // No constraint covers an address that only waits for its verification. It is checked again at the verification.
  if (waits && (await findTaken(tx, keys)).includes("email")) throw taken("email");

  const user = await tx.row(USER_UPDATE, {
    id: userId,
    ...keys,
    email: waits ? null : (email ?? null),
    emailKey: waits ? null : keys.emailKey,
    passwordHash,
    hasBio: bio !== undefined,
    bio: bio ?? null,
    hasImage: image !== undefined,
    image: image ?? null,
  });
  if (user === undefined) throw sessionEnded();
  if (newAddress !== null) await requireNotReserved(tx, userId, newAddress.emailKey);
  const keyBefore = sameKey(before.username);
  if (keys.usernameKey !== null && keys.usernameKey !== keyBefore) {
    await tx.rows(FORMER_NAME_FORGET, [keys.usernameKey]);
    await tx.rows(FORMER_NAME_ADD, [keyBefore, userId]);
  }

  let revoked: Revocation[] = [];
  if (passwordHash !== null) {
    revoked = await endSessions(tx, userId, sessionId, "password");
    await endLinks(tx, userId, "reset");
    await endAddressChange(tx, userId, before.email_key);
    if (link !== null) {
      await enqueueMail(tx, { kind: "password_changed", userId, to: before.email, username: greetingName(before) });
    }
  }
  if (newAddress !== null) {
    await endLinks(tx, userId, "reset");
    await endLinks(tx, userId, "verify");
    if (link !== null) {
      await noticeChange(tx, before, newAddress, undoLink);
      await sendVerification(tx, user, newAddress, link);
    }
  }
  return { user, revoked, changed: changedInProfile(before.username, user) };
}

/** A name that a user takes leads to nobody else. */
const FORMER_NAME_FORGET = write("former_username_forget", "delete from former_usernames where username_key = $1");

const FORMER_NAME_ADD = write(
  "former_username_add",
  `insert into former_usernames (username_key, user_id) values ($1, $2::bigint)
   on conflict (username_key) do update set user_id = excluded.user_id`,
);

/** What others see of a user, and under which name, if that has changed. */
function changedInProfile(usernameBefore: string, { id, username }: UserRow): string[] {
  const names = [...new Set([sameKey(usernameBefore), sameKey(username)])];
  return [topics.user(id), ...(names.length === 1 ? [] : names.map(topics.name))];
}

/**
 * Notifies the old address of a change. It can undo the change only if it was verified: otherwise it may be a stranger's, as
 * after a typing error, and the link would give them the account. A stranger does not learn the new address either.
 */
async function noticeChange(tx: Queries, before: LockedUser, to: Address, undoLink: NewLink | null): Promise<void> {
  const mail = { kind: "email_changed", userId: before.id, to: before.email, username: greetingName(before) } as const;
  if (!before.email_verified || undoLink === null) return enqueueMail(tx, mail);
  await addLink(tx, "undo", before.id, { email: before.email, emailKey: before.email_key }, undoLink.hash);
  await enqueueMail(tx, { ...mail, detail: to.email, sealedToken: undoLink.sealed });
}

// Null leaves a field as it is. For bio and image null is a value, so each has a flag.
const USER_UPDATE = write<UserRow>(
  "user_update",
  `update users
      set username          = coalesce(:username, username),
          username_key      = coalesce(:usernameKey, username_key),
          username_skeleton = coalesce(:usernameSkeleton, username_skeleton),
          email             = coalesce(:email, email),
          email_key         = coalesce(:emailKey, email_key),
          email_verified_at = case when :emailKey <> email_key then null else email_verified_at end,
          password_hash     = coalesce(:passwordHash, password_hash),
          bio               = case when :hasBio::boolean then :bio else bio end,
          image             = case when :hasImage::boolean then :image else image end,
          updated_at        = now()
    where id = :id::bigint
   returning ${USER}`,
);

/** What must be unique; null for what does not change. `exceptId` is the user who may have it. */
type UserKeys = {
  readonly username: string | null;
  readonly usernameKey: string | null;
  readonly usernameSkeleton: string | null;
  readonly emailKey: string | null;
  readonly exceptId: string | null;
};

function usernameKeys(username: string | undefined): Pick<UserKeys, "username" | "usernameKey" | "usernameSkeleton"> {
  if (username === undefined) return { username: null, usernameKey: null, usernameSkeleton: null };
  return { username, usernameKey: sameKey(username), usernameSkeleton: skeletonOf(username) };
}

const FIELD_OF: Record<string, "username" | "email"> = {
  users_username_key: "username",
  users_username_range: "username",
  users_email_key: "email",
};

/**
 * The 409 for an error that is a unique violation; any other error as it is. PostgreSQL reports only the first constraint
 * that is violated, and the response names every field.
 */
async function asTaken(error: unknown, db: Queries, keys: UserKeys): Promise<unknown> {
  const field = FIELD_OF[violatedConstraint(error) ?? ""];
  return field === undefined ? error : taken(...new Set([field, ...(await findTaken(db, keys))]));
}

/** The fields whose value another user has. */
async function findTaken(db: Queries, keys: UserKeys): Promise<("username" | "email")[]> {
  const row = await db.row(USER_TAKEN, keys);
  return [...(row?.username ? ["username" as const] : []), ...(row?.email ? ["email" as const] : [])];
}

const USER_TAKEN = read<{ username: boolean; email: boolean }>(
  "user_taken",
  `select exists (
            select from users
             where (username_key = :usernameKey
                or username_range(username, username_key, username_skeleton)
                   && username_range(:username, :usernameKey, :usernameSkeleton))
               and id is distinct from :exceptId::bigint) as username,
          exists (select from users where email_key = :emailKey and id is distinct from :exceptId::bigint) as email`,
);

/** Whether the user still exists. */
export async function userExists(db: Queries, userId: string): Promise<boolean> {
  return (await db.row(USER_EXISTS, [userId])) !== undefined;
}

const USER_EXISTS = read<{ id: string }>("user_exists", "select id from users where id = $1::bigint");
