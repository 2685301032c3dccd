import type { Database } from "../../../db/pool.ts";
import { read, write } from "../../../db/statements.ts";
import { ApiError, notFound } from "../../../http/errors.ts";
import { limitKey } from "../rate-limits.ts";
import type { Revocation } from "./revocations.ts";
import { newRefreshToken, readRefreshToken, successorOf } from "./rules.ts";

/** Who asks for a session. */
export type Client = { readonly device: string; readonly ip: string | null };

/** How long tokens live, in seconds, and how many sessions an account may have. */
export type SessionLimits = {
  readonly accessTokenTtlS: number;
  readonly refreshTokenTtlS: number;
  readonly sessionsMax: number;
};

/** The columns that `openSession` fills, in its order. */
export const SESSION_COLUMNS =
  "user_id, device, ip, family_hash, current_hash, access_expires_at, expires_at, last_used_at";

/** The values of `SESSION_COLUMNS` after `user_id`, from the parameters `$first` on; see `sessionParameters`. */
export function sessionValues(first: number): string {
  const p = (i: number) => `$${first + i}`;
  return `${p(0)}::text, ${p(1)}::inet, decode(${p(2)}, 'hex'), decode(${p(3)}, 'hex'),
          now() + ${p(4)}::float8 * interval '1 second', now() + ${p(5)}::float8 * interval '1 second', clock_timestamp()`;
}

/** The parameters of `sessionValues`, and the refresh token that they open the session with. */
export function sessionParameters(client: Client, limits: SessionLimits) {
  const first = newRefreshToken();
  return {
    refreshToken: first.token,
    parameters: [
      client.device,
      client.ip,
      first.familyHash,
      first.hash,
      limits.accessTokenTtlS,
      limits.refreshTokenTtlS,
    ] as const,
  };
}

/** A pair's other half, made by the caller: `accessToken = tokens.issue(userId, sessionId)`. */
export type OpenedSession = { userId: string; sessionId: string; refreshToken: string };

/**
 * A session for somebody whose password was right. Undefined where it is not any more: changed, or the account
 * deleted, while it was being checked. `revoked` are the sessions that were one too many.
 */
export async function openSession(
  db: Database,
  account: { id: string; passwordHash: string; emailKey: string },
  client: Client,
  limits: SessionLimits,
): Promise<(OpenedSession & { revoked: Revocation[] }) | undefined> {
  const { refreshToken, parameters } = sessionParameters(client, limits);
  const rows = await db.rows(SESSION_OPEN, [
    account.id,
    account.passwordHash,
    limits.sessionsMax - 1,
    limitKey("login", "account", account.emailKey),
    ...parameters,
  ]);
  const opened = rows[0];
  if (opened === undefined) return undefined;
  return {
    userId: account.id,
    sessionId: opened.session_id,
    refreshToken,
    revoked: rows.flatMap(({ id, until_s }) => (id === null ? [] : [{ id, until_s }])),
  };
}

/** What of a revoked session the instances are told. */
export const REVOCATION = "id, ceil(extract(epoch from access_expires_at))::float8 as until_s";

// One row per revoked session, and one at least.
const SESSION_OPEN = write<{ session_id: string; id: string | null; until_s: number }>(
  "session_open",
  `with account as (select id from users where id = $1::bigint and password_hash = $2 for no key update),
        evicted as materialized (select e.* from account a, evict_sessions(a.id, $3::integer) e),
        opened as (
          -- After the eviction: it must not be among those that are counted.
          insert into sessions (${SESSION_COLUMNS})
          select a.id, ${sessionValues(5)} from account a, (select count(*) from evicted) as done
          returning id),
        -- A right password clears the count of wrong ones.
        cleared as (delete from rate_limits where key = $4 and exists (select from account))
   select o.id as session_id, e.id, e.until_s
     from opened o left join (select ${REVOCATION} from evicted) e on true`,
);

/** A used token may come again for this long: see `GOOD`. */
const GRACE = "interval '20 seconds'";

/**
 * Whether the refresh token `p.hash` is good for its session `s`.
 *
 * It is the current one, or the one before, first used at most 20 s ago: by a client that lost the answer, or by the
 * other one of two tabs. The latter does not branch the session in two. There is one current token, always; whoever
 * comes within the grace gets a new current one, and the current one of before, handed out moments ago, is worth
 * nothing from then on. So of two who got through with one token only the last has a way on. The other, at the next
 * refresh, presents a token that is neither current nor the one before it: reuse, which ends the session for both and
 * tells the owner. A thief who used the grace is found out as one without it would be.
 *
 * The 20 s count from the first use, and coming again does not extend them.
 */
const GOOD = `(s.current_hash = p.hash or (s.predecessor_hash = p.hash and s.rotated_at > now() - ${GRACE}))`;

/**
 * A new refresh token for a good one, in one statement: of many at once, each waits for the row and judges what it
 * finds there then. Throws 401 for a token that is unknown, expired, or of a revoked session; and for one that was
 * used before, after which its session is `reused`, revoked, and its owner told by mail where that can be sent.
 */
export async function refreshSession(
  db: Database,
  sent: string,
  ip: string | null,
  limits: SessionLimits,
  tellOwner: boolean,
): Promise<{ session: OpenedSession } | { reused: Revocation }> {
  const token = readRefreshToken(sent);
  if (token === undefined) throw refreshFault("is invalid");
  const successor = successorOf(token.family);
  const row = await db.row(SESSION_REFRESH, [
    token.familyHash,
    token.hash,
    successor.hash,
    ip,
    limits.accessTokenTtlS,
    limits.refreshTokenTtlS,
    tellOwner,
  ]);
  if (row === undefined) throw refreshFault("is invalid or has expired");
  if (!row.rotated) return { reused: row };
  return { session: { userId: row.user_id, sessionId: row.id, refreshToken: successor.token } };
}

export const refreshFault = (fault: string): ApiError => new ApiError("unauthorized", { refresh_token: [fault] });

// Every `case` sees the row as it was before. Afterwards, the current hash tells which way it went.
const SESSION_REFRESH = write<Revocation & { user_id: string; rotated: boolean }>(
  "session_refresh",
  `with touched as (
   update sessions s
      set current_hash      = case when ${GOOD} then p.successor else s.current_hash end,
          predecessor_hash  = case when s.current_hash = p.hash then p.hash else s.predecessor_hash end,
          rotated_at        = case when s.current_hash = p.hash then now() else s.rotated_at end,
          last_used_at      = case when ${GOOD} then now() else s.last_used_at end,
          ip                = case when ${GOOD} then coalesce($4::inet, s.ip) else s.ip end,
          access_expires_at = case when ${GOOD}
            then greatest(s.access_expires_at, now() + $5::float8 * interval '1 second') else s.access_expires_at end,
          expires_at        = case when ${GOOD} then now() + $6::float8 * interval '1 second' else s.expires_at end,
          revoked_at        = case when not ${GOOD} then now() end,
          revoked_for       = case when not ${GOOD} then 'reuse' end
     from (select decode($1, 'hex') as family, decode($2, 'hex') as hash, decode($3, 'hex') as successor) p
    where s.family_hash = p.family and s.revoked_at is null and s.expires_at > now()
   returning s.id, s.user_id, s.device, s.access_expires_at, s.current_hash = p.successor as rotated),
   told as (
     insert into outbox (kind, user_id, to_address, username, detail)
     select 'session_ended', u.id, u.email, u.username, t.device
       from touched t join users u on u.id = t.user_id
      where not t.rotated and $7::boolean)
   select user_id, rotated, ${REVOCATION} from touched`,
);

/** Revokes the session of a refresh token, used or not. Nothing where there is none: who is out stays out. */
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

export type SessionJson = {
  id: string;
  device: string;
  ip: string | null;
  created_at: Date;
  last_used_at: Date;
  current: boolean;
};

/** The sessions of a user that can go on, the last used first. */
export function listSessions(db: Database, userId: string, currentId: string): Promise<SessionJson[]> {
  return db.rows(SESSIONS, [userId, currentId]);
}

const SESSIONS = read<SessionJson>(
  "sessions",
  `select id, device, host(ip) as ip, created_at, last_used_at, id = $2::uuid as current
     from sessions
    where user_id = $1::bigint and revoked_at is null and expires_at > now()
    order by sessions.last_used_at desc, id desc`,
);

/** Ends one session of a user. Throws 404 where it is somebody else's, unknown or over already. */
export async function endSession(db: Database, userId: string, sessionId: string): Promise<Revocation> {
  if (!UUID.test(sessionId)) throw notFound("session");
  const ended = await db.row(SESSION_END, [userId, sessionId]);
  if (ended === undefined) throw notFound("session");
  return ended;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const SESSION_END = write<Revocation>(
  "session_end",
  `update sessions set revoked_at = now(), revoked_for = 'ended'
    where user_id = $1::bigint and id = $2::uuid and revoked_at is null and expires_at > now()
   returning ${REVOCATION}`,
);

/** Ends every session of a user but the one in use. */
export function endOtherSessions(db: Database, userId: string, currentId: string): Promise<Revocation[]> {
  return db.rows(SESSIONS_END_OTHERS, [userId, currentId]);
}

const SESSIONS_END_OTHERS = write<Revocation>(
  "sessions_end_others",
  `update sessions set revoked_at = now(), revoked_for = 'others'
    where user_id = $1::bigint and id <> $2::uuid and revoked_at is null
   returning ${REVOCATION}`,
);

/** Removes sessions that can neither be refreshed nor have an access token that is still good. */
export async function purgeSessions(db: Database): Promise<void> {
  await db.rows(SESSIONS_PURGE, []);
}

const SESSIONS_PURGE = write(
  "sessions_purge",
  `delete from sessions
    where access_expires_at < now() - interval '1 hour' and (revoked_at is not null or expires_at < now())`,
);
