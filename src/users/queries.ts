import { USER_GONE } from "../auth/guards.ts";
import { type Database, read, violatedConstraint, write } from "../platform/database.ts";
import { taken, unauthorized } from "../platform/errors.ts";
import {
  type Client,
  type OpenedSession,
  REVOCATION,
  SESSION_COLUMNS,
  type SessionLimits,
  sessionParameters,
  sessionValues,
} from "../sessions/queries.ts";
import type { Revocation } from "../sessions/revocations.ts";
import { sameKey } from "./rules.ts";
import type { UserUpdate } from "./schema.ts";

/** What a user may know of the own account. */
export type Account = {
  id: string;
  username: string;
  email: string;
  bio: string | null;
  image: string | null;
};

const ACCOUNT = "id, username, email, bio, image";

/** A new account and its first session. Throws 409 naming the fields that another account has. */
export async function insertUser(
  db: Database,
  user: { username: string; email: string },
  passwordHash: string,
  client: Client,
  limits: SessionLimits,
): Promise<{ account: Account; session: OpenedSession }> {
  const keys = [sameKey(user.username), sameKey(user.email)] as const;
  const { refreshToken, parameters } = sessionParameters(client, limits);
  try {
    const [row] = await db.rows(INSERT_USER, [
      user.username,
      keys[0],
      user.email,
      keys[1],
      passwordHash,
      ...parameters,
    ]);
    if (row === undefined) throw new Error("an insert without a conflict clause returned no row");
    return { account: row, session: { userId: row.id, sessionId: row.session_id, refreshToken } };
  } catch (error) {
    throw (await takenBy(db, error, keys[0], keys[1], null)) ?? error;
  }
}

const INSERT_USER = write<Account & { session_id: string }>(
  "user_insert",
  `with account as (
     insert into users (username, username_key, email, email_key, password_hash)
     values ($1, $2, $3, $4, $5)
     returning ${ACCOUNT}),
   session as (
     insert into sessions (${SESSION_COLUMNS})
     select id, ${sessionValues(6)} from account
     returning id as session_id)
   select * from account, session`,
);

/** The account of an email with its password hash; undefined where there is none. */
export function findForLogin(
  db: Database,
  email: string,
): Promise<{ account: Account; passwordHash: string } | undefined> {
  return db
    .row(USER_FOR_LOGIN, [sameKey(email.trim())])
    .then((row) => row && { account: row, passwordHash: row.password_hash });
}

const USER_FOR_LOGIN = read<Account & { password_hash: string }>(
  "user_for_login",
  `select ${ACCOUNT}, password_hash from users where email_key = $1`,
);

/** Throws 401 where the user is gone. */
export async function findUser(db: Database, userId: string): Promise<Account> {
  const account = await db.row(USER_BY_ID, [userId]);
  if (account === undefined) throw userGone();
  return account;
}

const USER_BY_ID = read<Account>("user_by_id", `select ${ACCOUNT} from users where id = $1::bigint`);

/**
 * Changes what is not undefined. A new password ends every session but the one in use, whose token the contract goes
 * on with; these are the `revoked`. Throws 401 where the user is gone, 409 naming the fields that another
 * account has.
 */
export async function updateUser(
  db: Database,
  userId: string,
  sessionId: string,
  { username, email, bio, image }: UserUpdate,
  passwordHash: string | null,
): Promise<{ account: Account; revoked: Revocation[] }> {
  const keys = [
    username === undefined ? null : sameKey(username),
    email === undefined ? null : sameKey(email),
  ] as const;
  try {
    const rows = await db.rows(UPDATE_USER, [
      userId,
      username ?? null,
      keys[0],
      email ?? null,
      keys[1],
      passwordHash,
      bio !== undefined,
      bio ?? null,
      image !== undefined,
      image ?? null,
      sessionId,
    ]);
    const account = rows[0];
    if (account === undefined) throw userGone();
    return { account, revoked: rows.flatMap((row) => (row.revoked === null ? [] : [row.revoked])) };
  } catch (error) {
    throw (await takenBy(db, error, keys[0], keys[1], userId)) ?? error;
  }
}

// coalesce only where null is no value of the field; bio and image have a flag beside them. One row per revoked
// session, and one at least.
const UPDATE_USER = write<Account & { revoked: Revocation | null }>(
  "user_update",
  `with account as (
     update users
        set username      = coalesce($2, username),
            username_key  = coalesce($3, username_key),
            email         = coalesce($4, email),
            email_key     = coalesce($5, email_key),
            password_hash = coalesce($6, password_hash),
            bio           = case when $7::boolean then $8 else bio end,
            image         = case when $9::boolean then $10 else image end,
            updated_at    = now()
      where id = $1::bigint
     returning ${ACCOUNT}),
   revoked as (
     update sessions set revoked_at = now(), revoked_for = 'password'
      where $6 is not null and user_id = (select id from account) and id <> $11::uuid and revoked_at is null
     returning ${REVOCATION})
   select a.*, to_json(r) as revoked from account a left join revoked r on true`,
);

/**
 * The 409 for a unique violation; undefined for any other error. PostgreSQL names the first constraint alone, so what
 * else is taken is asked for: only the message depends on it.
 */
async function takenBy(
  db: Database,
  error: unknown,
  usernameKey: string | null,
  emailKey: string | null,
  exceptId: string | null,
): Promise<Error | undefined> {
  const constraint = violatedConstraint(error);
  if (constraint !== "users_username_key" && constraint !== "users_email_key") return undefined;
  const also = await db.row(TAKEN, [usernameKey, emailKey, exceptId]);
  return taken(
    ...(constraint === "users_username_key" || also?.username ? ["username"] : []),
    ...(constraint === "users_email_key" || also?.email ? ["email"] : []),
  );
}

const TAKEN = read<{ username: boolean; email: boolean }>(
  "user_taken",
  `select exists (select from users where username_key = $1 and id is distinct from $3::bigint) as username,
          exists (select from users where email_key = $2 and id is distinct from $3::bigint) as email`,
);

export const userGone = (): Error => unauthorized(USER_GONE);
