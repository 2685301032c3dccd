import type { Database, Queries } from "../../../db/pool.ts";
import { PURGE_BATCH } from "../../../db/purge.ts";
import { type RowOf, rowMapper } from "../../../db/rows.ts";
import { read, write } from "../../../db/statements.ts";
import { ApiError, notFound } from "../../../http/errors.ts";
import { enqueueMail } from "../../../mail/queue.ts";
import { type CurrentSession, lockCurrentUser } from "../current-session.ts";
import { rememberNetwork } from "../known-networks.ts";
import { greetingName, lockUser } from "../lock-user.ts";
import { networkKeyOf } from "../networks.ts";
import type { Revocation } from "./revocations.ts";
import { newRefreshToken, type RefreshToken, readRefreshToken, type SuccessorOf } from "./rules.ts";
import { Session } from "./schema.ts";

/** The client that opens a session. */
export type Client = { readonly device: string; readonly ip: string | null };

/** How long tokens live, in seconds, and how many sessions a user may have. */
export type SessionLimits = {
  readonly accessTokenTtlS: number;
  readonly refreshTokenTtlS: number;
  /** How long a session may last, however often it is refreshed. */
  readonly sessionMaxAgeS: number;
  readonly sessionsMax: number;
};

/** The caller issues the access token: `tokens.issue(userId, sessionId, accessTtlS)`. */
export type OpenedSession = {
  readonly userId: string;
  readonly sessionId: string;
  readonly refreshToken: string;
  /** The lifetime of an access token, in seconds: it ends with the session. */
  readonly accessTtlS: number;
};

/** Opens a session. The caller has locked the user row, or inserted it, in the same transaction. */
export async function openSession(
  tx: Queries,
  userId: string,
  client: Client,
  limits: SessionLimits,
): Promise<OpenedSession> {
  const { token, familyHash, hash } = newRefreshToken();
  const accessTtlS = Math.min(limits.accessTokenTtlS, limits.sessionMaxAgeS);
  const row = await tx.row(SESSION_OPEN, {
    userId,
    device: client.device,
    ip: client.ip,
    familyHash,
    hash,
    accessTtlS,
    refreshTtlS: Math.min(limits.refreshTokenTtlS, limits.sessionMaxAgeS),
  });
  if (row === undefined) throw new Error("an insert without a conflict clause returned no row");
  if (client.ip !== null) await rememberNetwork(tx, userId, networkKeyOf(client.ip));
  return { userId, sessionId: row.id, refreshToken: token, accessTtlS };
}

// clock_timestamp(), because now() is when the transaction began, before it waited for the user row: the order of logins
// is the order of their sessions.
const SESSION_OPEN = write<{ id: string }>(
  "session_open",
  `insert into sessions (user_id, device, ip, family_hash, current_hash, access_expires_at, expires_at, last_used_at)
   values (:userId::bigint, :device, :ip::inet, decode(:familyHash, 'hex'), decode(:hash, 'hex'),
           now() + :accessTtlS::float8 * interval '1 second', now() + :refreshTtlS::float8 * interval '1 second',
           clock_timestamp())
   returning id`,
);

/**
 * Revokes the sessions of a user that were idle longest, so that at most `kept` stay. The caller has locked the user row:
 * logins of the same user at the same time count each other's sessions.
 */
export function revokeIdleSessions(tx: Queries, userId: string, kept: number): Promise<Revocation[]> {
  return tx.rows(SESSIONS_REVOKE_IDLE, [userId, kept]);
}

/** The columns of a `Revocation`. */
const REVOCATION = "id, ceil(extract(epoch from access_expires_at))::float8 as expires_at_s";

const SESSIONS_REVOKE_IDLE = write<Revocation>(
  "sessions_revoke_idle",
  `update sessions set revoked_at = now(), revoked_for = 'limit'
    where id in (
      select id from sessions
       where user_id = $1::bigint and revoked_at is null and expires_at > now()
       order by last_used_at desc, id desc
      offset $2::integer)
   returning ${REVOCATION}`,
);

/**
 * Exchanges a valid refresh token for a new one. Throws 401 if it is invalid or expired, or if its session was revoked; and
 * if it was used before, which also revokes the session: `reused`. The user is notified of that by email.
 *
 * A refresh token is valid if it is the current one of its session. The one before it stays valid for 20 s after its first
 * use, for a client that lost the response and for tabs that refresh at once. Everyone who uses it gets the same successor
 * (rules.ts), so it does not matter which tab stores its response last, and a session never has two valid tokens. A thief
 * who uses a copied token within the 20 s gets that successor too. Whoever uses it second, more than 20 s after the first,
 * presents a token that is neither the current one nor the one before: that is reuse, which ends the session for both.
 *
 * Repeating a token does not extend the 20 s.
 *
 * @param notifyUser whether to enqueue the email about reuse
 */
export async function refreshSession(
  db: Database,
  successorOf: SuccessorOf,
  sent: string,
  ip: string | null,
  limits: SessionLimits,
  notifyUser: boolean,
): Promise<{ session: OpenedSession } | { reused: Revocation }> {
  const token = readRefreshToken(sent);
  if (token === undefined) throw invalidRefreshToken("is invalid");
  const successor = successorOf(token);
  const row = await db.row(SESSION_REFRESH, {
    familyHash: token.familyHash,
    hash: token.hash,
    successorHash: successor.hash,
    ip,
    network: ip === null ? null : networkKeyOf(ip),
    accessTtlS: limits.accessTokenTtlS,
    refreshTtlS: limits.refreshTokenTtlS,
    maxAgeS: limits.sessionMaxAgeS,
  });
  if (row !== undefined) {
    const { user_id: userId, id: sessionId, access_ttl_s: accessTtlS } = row;
    return { session: { userId, sessionId, refreshToken: successor.token, accessTtlS } };
  }
  const reused = await revokeReused(db, token, notifyUser);
  if (reused === undefined) throw invalidRefreshToken("is invalid or has expired");
  return { reused };
}

export const invalidRefreshToken = (problem: string): ApiError =>
  new ApiError("unauthorized", { refresh_token: [problem] });

// Of many at once, each waits for the row and checks the token against what the one before has written. Every `case` sees
// the row as it was before this update.
const SESSION_REFRESH = write<{ id: string; user_id: string; access_ttl_s: number }>(
  "session_refresh",
  `with refreshed as (
   update sessions
      set current_hash      = decode(:successorHash, 'hex'),
          predecessor_hash  = decode(:hash, 'hex'),
          rotated_at        = case when current_hash = decode(:hash, 'hex') then now() else rotated_at end,
          last_used_at      = now(),
          ip                = coalesce(:ip::inet, ip),
          access_expires_at = greatest(access_expires_at, least(now() + :accessTtlS::float8 * interval '1 second',
                                                                created_at + :maxAgeS::float8 * interval '1 second')),
          expires_at        = least(now() + :refreshTtlS::float8 * interval '1 second',
                                    created_at + :maxAgeS::float8 * interval '1 second')
    where family_hash = decode(:familyHash, 'hex') and revoked_at is null and expires_at > now()
      and created_at + :maxAgeS::float8 * interval '1 second' > now()
      and (current_hash = decode(:hash, 'hex')
        or predecessor_hash = decode(:hash, 'hex') and rotated_at > now() - interval '20 seconds')
   returning id, user_id,
             least(:accessTtlS::float8,
                   extract(epoch from created_at - now())::float8 + :maxAgeS::float8) as access_ttl_s),
   remembered as (
     insert into known_networks (user_id, network)
     select user_id, :network::text from refreshed where :network::text is not null
     on conflict (user_id, network) do update set last_used_at = now())
   select id, user_id, access_ttl_s from refreshed`,
);

/**
 * Revokes the session of a refresh token that is not valid for it; undefined if there is no such session, or if it was
 * revoked before. A token that is not valid once never is again, so it need not be checked a second time.
 */
async function revokeReused(db: Database, token: RefreshToken, notifyUser: boolean): Promise<Revocation | undefined> {
  const session = await db.row(SESSION_OF_TOKEN, [token.familyHash]);
  if (session === undefined) return undefined;
  return db.transaction(async (tx) => {
    const user = await lockUser(tx, session.user_id);
    if (user === undefined) return undefined;
    const revoked = await tx.row(SESSION_REVOKE, [session.id, "reuse"]);
    if (revoked !== undefined && notifyUser && (await tx.row(REUSE_IS_FREQUENT, [user.id])) === undefined) {
      const detail = user.email_verified ? session.device : null;
      const mail = { userId: user.id, to: user.email, username: greetingName(user), detail };
      await enqueueMail(tx, { kind: "session_ended", ...mail });
    }
    return revoked;
  });
}

// Whoever owns an account can cause these mails on purpose, also if the address is a stranger's.
const REUSE_IS_FREQUENT = read<{ user_id: string }>(
  "session_reuse_is_frequent",
  `select user_id from sessions
    where user_id = $1::bigint and revoked_for = 'reuse' and revoked_at > now() - interval '1 hour'
   offset 5 limit 1`,
);

const SESSION_OF_TOKEN = read<{ id: string; user_id: string; device: string }>(
  "session_of_token",
  `select id, user_id, device from sessions
    where family_hash = decode($1, 'hex') and revoked_at is null and expires_at > now()`,
);

const SESSION_REVOKE = write<Revocation>(
  "session_revoke",
  `update sessions set revoked_at = now(), revoked_for = $2
    where id = $1::uuid and revoked_at is null and expires_at > now()
   returning ${REVOCATION}`,
);

/** Revokes the session of a refresh token, used or not. An unknown token revokes nothing. */
export async function logOut(db: Database, sent: string): Promise<Revocation[]> {
  const token = readRefreshToken(sent);
  return token === undefined ? [] : db.rows(SESSION_LOGOUT, [token.familyHash]);
}

const SESSION_LOGOUT = write<Revocation>(
  "session_logout",
  `update sessions set revoked_at = now(), revoked_for = 'logout'
    where family_hash = decode($1, 'hex') and revoked_at is null
   returning ${REVOCATION}`,
);

/** The sessions of a user that can be refreshed, the last used first. */
export async function listSessions(db: Database, { userId, sessionId }: CurrentSession): Promise<Session[]> {
  const rows = await db.rows(SESSIONS, [userId, sessionId]);
  return rows.map(sessionOf);
}

const sessionOf = rowMapper(Session);

const SESSIONS = read<RowOf<Session>>(
  "sessions",
  `select id, device, host(ip) as ip, created_at, last_used_at, id = $2::uuid as current
     from sessions
    where user_id = $1::bigint and revoked_at is null and expires_at > now()
    order by last_used_at desc, id desc`,
);

/** Ends one session of a user. Throws 401, and 404 if it is another user's, unknown or already ended. */
export async function endSession(db: Database, current: CurrentSession, sessionId: string): Promise<Revocation> {
  if (!UUID.test(sessionId)) throw notFound("session");
  return db.transaction(async (tx) => {
    await lockCurrentUser(tx, current);
    const ended = await tx.row(SESSION_END, [current.userId, sessionId]);
    if (ended === undefined) throw notFound("session");
    return ended;
  });
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const SESSION_END = write<Revocation>(
  "session_end",
  `update sessions set revoked_at = now(), revoked_for = 'ended'
    where user_id = $1::bigint and id = $2::uuid and revoked_at is null and expires_at > now()
   returning ${REVOCATION}`,
);

/** Ends every session of a user but the current one. Throws 401 if that one has ended. */
export function endOtherSessions(db: Database, current: CurrentSession): Promise<Revocation[]> {
  return db.transaction(async (tx) => {
    await lockCurrentUser(tx, current);
    return endSessions(tx, current.userId, current.sessionId, "others");
  });
}

/**
 * Ends every session of a user but one. The caller has locked the user row, so that a login with the old password either
 * came before, and its session ends, or finds the new password.
 * @param exceptId the session that stays; null for none
 */
export function endSessions(
  tx: Queries,
  userId: string,
  exceptId: string | null,
  reason: "others" | "password" | "reset" | "undo",
): Promise<Revocation[]> {
  return tx.rows(SESSIONS_END, [userId, exceptId, reason]);
}

const SESSIONS_END = write<Revocation>(
  "sessions_end",
  `update sessions set revoked_at = now(), revoked_for = $3
    where user_id = $1::bigint and id is distinct from $2::uuid and revoked_at is null
   returning ${REVOCATION}`,
);

/**
 * Removes sessions that cannot be refreshed any more and whose last access token expired an hour ago, at most 10,000.
 * Returns how many.
 */
export async function purgeSessions(db: Database): Promise<number> {
  return (await db.row(SESSIONS_PURGE, []))?.purged ?? 0;
}

const SESSIONS_PURGE = write<{ purged: number }>(
  "sessions_purge",
  `with purged as (
     delete from sessions where id in (
       select id from sessions
        where least(expires_at, revoked_at) < now() and access_expires_at < now() - interval '1 hour'
        order by least(expires_at, revoked_at) limit ${PURGE_BATCH} for update skip locked)
     returning id)
   select count(*)::integer as purged from purged`,
);
