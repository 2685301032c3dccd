import { violatedConstraint } from "../../../db/errors.ts";
import type { Database } from "../../../db/pool.ts";
import { read, write } from "../../../db/statements.ts";
import { taken, unauthorized } from "../../../http/errors.ts";
import { linkMailParts, type NewLink } from "../../../mail/outbox.ts";
import { USER_GONE } from "../guards.ts";
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
  email_verified: boolean;
  bio: string | null;
  image: string | null;
};

/** The columns of an `Account`, from `users` under this name. */
const columnsOf = (u: string) =>
  `${u}.id, ${u}.username, ${u}.email, ${u}.email_verified_at is not null as email_verified, ${u}.bio, ${u}.image`;

const ACCOUNT = columnsOf("users");

/**
 * A new account, its first session, and the mail that asks to confirm the address, where there is a link for it.
 * Throws 409 naming the fields that another account has.
 */
export async function insertUser(
  db: Database,
  user: { username: string; email: string },
  passwordHash: string,
  link: NewLink | null,
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
      link?.hash ?? null,
      link?.sealed ?? null,
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
     returning ${ACCOUNT}, email_key),
   session as (
     insert into sessions (${SESSION_COLUMNS})
     select id, ${sessionValues(8)} from account
     returning id as session_id),
   receiver as (select id, username, email, email_key from account where $6::text is not null),
   ${linkMailParts({ purpose: "verify", kind: "verify_email", to: "receiver", hash: "$6", sealed: "$7" })}
   select id, username, email, email_verified, bio, image, session_id from account, session`,
);

/** What an email is found by, as somebody typed it. */
export const emailKeyOf = (typed: string): string => sameKey(typed.trim());

/** The account of an email with its password hash; undefined where there is none. */
export function findForLogin(
  db: Database,
  email: string,
): Promise<{ account: Account; passwordHash: string } | undefined> {
  return db
    .row(USER_FOR_LOGIN, [emailKeyOf(email)])
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

/** What goes along with a change of the own account. */
export type UpdateOptions = {
  readonly sessionId: string;
  /** Of the new password; null where it stays. */
  readonly passwordHash: string | null;
  /** For the mail to a new address; null where no mail can be sent. */
  readonly link: NewLink | null;
  /** Whether the old address stays until the new one is confirmed. */
  readonly confirmFirst: boolean;
};

/**
 * Changes what is not undefined.
 *
 * A new password ends every session but the one in use, whose token the contract goes on with; these are the `revoked`.
 * A new address is unconfirmed, is sent a link, and the old one is told. Both end the links that were mailed before.
 *
 * Throws 401 where the user is gone, 409 naming the fields that another account has.
 */
export async function updateUser(
  db: Database,
  userId: string,
  { username, email, bio, image }: UserUpdate,
  { sessionId, passwordHash, link, confirmFirst }: UpdateOptions,
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
      confirmFirst,
      link?.hash ?? null,
      link?.sealed ?? null,
    ]);
    if (rows[0] === undefined) throw userGone();
    const { revoked: _, email_taken, ...account } = rows[0];
    if (email_taken) throw taken("email");
    return { account, revoked: rows.flatMap((row) => (row.revoked === null ? [] : [row.revoked])) };
  } catch (error) {
    throw (await takenBy(db, error, keys[0], keys[1], userId)) ?? error;
  }
}

// coalesce only where null is no value of the field; bio and image have a flag beside them. One row per revoked
// session, and one at least. Where an address is taken that would only be asked to confirm itself, no constraint says
// so: then nothing is changed, and the account returned is the old one.
const UPDATE_USER = write<Account & { email_taken: boolean; revoked: Revocation | null }>(
  "user_update",
  `with old as (
     select u.*, coalesce($5::text <> u.email_key, false) as email_moves,
            $12::boolean and $5 <> u.email_key and exists (select from users where email_key = $5) as email_taken
       from users u where u.id = $1::bigint for no key update of u),
   account as (
     update users u
        set username          = coalesce($2, u.username),
            username_key      = coalesce($3, u.username_key),
            email             = case when o.email_moves and $12 then u.email else coalesce($4, u.email) end,
            email_key         = case when o.email_moves and $12 then u.email_key else coalesce($5, u.email_key) end,
            email_verified_at = case when o.email_moves and not $12 then null else u.email_verified_at end,
            password_hash     = coalesce($6, u.password_hash),
            bio               = case when $7::boolean then $8 else u.bio end,
            image             = case when $9::boolean then $10 else u.image end,
            updated_at        = now()
       from old o where u.id = o.id and o.email_taken is not true
     returning ${columnsOf("u")}),
   revoked as materialized (
     select ${REVOCATION}
       from (select id as owner_id from account where $6 is not null) a, end_sessions(a.owner_id, $11::uuid, 'password')),
   -- A new password also ends the link by which another address waits: whoever had the old password may have asked for it.
   links_ended as (
     update email_links l set ended_at = now()
       from account a, old o
      where l.user_id = a.id and l.used_at is null and l.ended_at is null
        and case l.purpose when 'reset' then $6 is not null or o.email_moves
                           else $6 is not null and not o.email_moves and l.email_key <> o.email_key end),
   told as (
     insert into outbox (kind, user_id, to_address, username, detail)
     select n.kind, a.id, o.email, a.username, n.detail
       from account a, old o, (values ('password_changed', null, $6 is not null), ('email_changed', $4, true)) n (kind, detail, happened)
      where $13::text is not null and n.happened and (n.kind <> 'email_changed' or o.email_moves)),
   receiver as (
     select a.id, a.username, $4 as email, $5 as email_key from account a, old o
      where o.email_moves and $13::text is not null),
   ${linkMailParts({ purpose: "verify", kind: "verify_email", to: "receiver", hash: "$13", sealed: "$14" })}
   select a.*, false as email_taken, to_json(r) as revoked from account a left join revoked r on true
    union all
   select ${columnsOf("o")}, true, null from old o where o.email_taken`,
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
