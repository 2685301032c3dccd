import { createHash } from "node:crypto";
import { isIPv6 } from "node:net";
import type { Context, MiddlewareHandler } from "hono";
import type { Database, Queries } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { textArray, write } from "../../db/statements.ts";
import type { ClientAddress } from "../../http/client-address.ts";
import { ApiError } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";

/** A number of requests per window. */
export type RateLimit = {
  readonly max: number;
  readonly windowS: number;
  /**
   * The window ends `windowS` after the first request in it, or after the last one. With "last" no window of that length
   * has more than `max` requests, wherever it begins.
   */
  readonly from: "first" | "last";
};

const MINUTE_S = 60;

/**
 * The limits by address leave room for an office or a school behind one address, and for test suites, which register 300
 * users within seconds. Those by user are tight: a person mistypes a password three times, not ten.
 */
export const RATE_LIMITS = {
  register: { address: { max: 1_000, windowS: 10 * MINUTE_S, from: "first" } },
  login: {
    address: { max: 2_000, windowS: 10 * MINUTE_S, from: "first" },
    // Wrong passwords: the right one clears the count.
    user: { max: 10, windowS: 15 * MINUTE_S, from: "last" },
  },
  refresh: { address: { max: 2_000, windowS: 10 * MINUTE_S, from: "first" } },
  verify: { address: { max: 300, windowS: 10 * MINUTE_S, from: "first" } },
  resend: {
    address: { max: 60, windowS: 10 * MINUTE_S, from: "first" },
    user: { max: 5, windowS: 60 * MINUTE_S, from: "last" },
  },
  forgot: {
    address: { max: 60, windowS: 10 * MINUTE_S, from: "first" },
    user: { max: 5, windowS: 60 * MINUTE_S, from: "last" },
  },
  reset: { address: { max: 100, windowS: 10 * MINUTE_S, from: "first" } },
  // A new password or address by PUT /api/user: each costs a hash, or an email to a stranger.
  change: {
    address: { max: 300, windowS: 10 * MINUTE_S, from: "first" },
    user: { max: 10, windowS: 60 * MINUTE_S, from: "first" },
  },
} as const satisfies Record<string, { address: RateLimit; user?: RateLimit }>;

export type LimitedAction = keyof typeof RATE_LIMITS;

export type RateLimits = {
  /**
   * Counts an action for the client's address and, if given, for a user. Reports in the response headers how much is left.
   * Throws 429.
   * @param user identifies the user: an email key, or an id
   */
  count(c: Context, action: LimitedAction, user?: string): Promise<void>;
  /** A guard that counts, for the address alone without `userOf`. It comes before the guard that reads the body. */
  limit<Variables extends object = object>(
    action: LimitedAction,
    userOf?: (c: Context<{ Variables: Variables }>) => string,
  ): MiddlewareHandler<{ Variables: Variables }>;
  /** A guard that counts for a user alone, whom the body names. It comes after the one for the address and the body. */
  limitUser<Variables extends object = object>(
    action: LimitedAction,
    userOf: (c: Context<{ Variables: Variables }>) => string,
  ): MiddlewareHandler<{ Variables: Variables }>;
};

/** @param limits null for no limits */
export function createRateLimits(
  db: Database,
  addressOf: ClientAddress,
  limits: Record<LimitedAction, { address: RateLimit; user?: RateLimit }> | null = RATE_LIMITS,
): RateLimits {
  async function countFor(c: Context, action: LimitedAction, address: string | null, user?: string): Promise<void> {
    if (limits === null) return;
    const { address: byAddress, user: byUser } = limits[action];
    const counted: Counted[] = [];
    if (address !== null) counted.push({ key: limitKey(action, "address", networkOf(address)), limit: byAddress });
    if (user !== undefined && byUser !== undefined) {
      counted.push({ key: limitKey(action, "user", user), limit: byUser });
    }
    if (counted.length === 0) return;
    report(c, await countInDatabase(db, counted), counted);
  }

  const guard = <Variables extends object>(count: (c: Context<{ Variables: Variables }>) => Promise<void>) => {
    const limitRequest: MiddlewareHandler<{ Variables: Variables }> = async (c, next) => {
      await count(c);
      await next();
    };
    return describeGuard(limitRequest, { errors: ["too_many_requests"] });
  };

  return {
    count: (c, action, user) => countFor(c, action, addressOf(c), user),
    limit: (action, userOf) => guard((c) => countFor(c, action, addressOf(c), userOf?.(c))),
    limitUser: (action, userOf) => guard((c) => countFor(c, action, null, userOf(c))),
  };
}

type Counted = { readonly key: string; readonly limit: RateLimit; readonly amount?: number };
type Count = { key: string; count: number; ends_in_s: number };

/** Adds an amount, 1 by default, to each count. Returns the counts. */
export function countInDatabase(db: Queries, counted: readonly Counted[]): Promise<Count[]> {
  return db.rows(LIMIT_COUNT, {
    keys: textArray(counted.map(({ key }) => key)),
    amounts: textArray(counted.map(({ amount = 1 }) => String(amount))),
    maxima: textArray(counted.map(({ limit }) => String(limit.max))),
    windowsS: textArray(counted.map(({ limit }) => String(limit.windowS))),
    fromLast: textArray(counted.map(({ limit }) => String(limit.from === "last"))),
  });
}

// Beyond the maximum nothing changes: a refused request extends no window. The rows are locked in the order of their keys,
// so that two of these statements cannot deadlock.
const LIMIT_COUNT = write<Count>(
  "rate_limit_count",
  `insert into rate_limits as l (key, count, max, ends_at)
   select n.key, n.amount::integer, n.max::integer, now() + n.window_s::float8 * interval '1 second'
     from unnest(:keys::text[], :amounts::text[], :maxima::text[], :windowsS::text[]) as n (key, amount, max, window_s)
    order by n.key
   on conflict (key) do update
      set count   = case when l.ends_at <= now() then excluded.count else least(l.count, excluded.max) + excluded.count end,
          max     = excluded.max,
          ends_at = case when l.ends_at <= now() then excluded.ends_at
                         when l.count < excluded.max and l.key = any (
                           select f.key from unnest(:keys::text[], :fromLast::text[]) as f (key, from_last)
                            where f.from_last::boolean)
                           then excluded.ends_at
                         else l.ends_at end
   returning key, count, extract(epoch from ends_at - now())::float8 as ends_in_s`,
);

/** Sets the headers. Throws 429 if a limit is exceeded. */
function report(c: Context, rows: Count[], counted: Counted[]): void {
  const states = counted.flatMap(({ key, limit }) => {
    const row = rows.find((candidate) => candidate.key === key);
    if (row === undefined) return [];
    const name = key.split(":", 2).join("-");
    const left = Math.max(limit.max - row.count, 0);
    return [{ name, limit, left, isExceeded: row.count > limit.max, endsInS: Math.max(Math.ceil(row.ends_in_s), 1) }];
  });
  // draft-ietf-httpapi-ratelimit-headers-10: what is left and for how long, and the limit itself.
  for (const { name, limit, left, endsInS } of states) {
    c.header("RateLimit", `"${name}";r=${left};t=${endsInS}`, { append: true });
    c.header("RateLimit-Policy", `"${name}";q=${limit.max};w=${limit.windowS}`, { append: true });
  }
  const exceeded = states.filter((state) => state.isExceeded);
  if (exceeded.length === 0) return;
  throw tooManyRequests(Math.max(...exceeded.map(({ endsInS }) => endsInS)));
}

/** The 429 for a client that has to wait so many seconds. */
export function tooManyRequests(waitS: number, headers: Record<string, string> = {}): ApiError {
  const wait = waitS < 120 ? `${waitS} seconds` : `${Math.ceil(waitS / 60)} minutes`;
  return new ApiError(
    "too_many_requests",
    { requests: [`are too many, try again in ${wait}`] },
    { "Retry-After": String(waitS), ...headers },
  );
}

/** The key of a row. The hash keeps addresses, also mistyped ones of strangers, out of the table. */
export function limitKey(action: string, by: "address" | "user", whom: string): string {
  return `${action}:${by}:${createHash("sha256").update(whom).digest("base64url").slice(0, 22)}`;
}

/** Forgets what was counted for a user. @param user as for `count` */
export async function clearRateLimit(tx: Queries, action: LimitedAction, user: string): Promise<void> {
  await tx.rows(LIMIT_CLEAR, [limitKey(action, "user", user)]);
}

const LIMIT_CLEAR = write("rate_limit_clear", "delete from rate_limits where key = $1");

/** An address, or for IPv6 its /64, the least that one customer gets (RFC 6177). */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  while (tail !== undefined && groups.length + after.length < 8) groups.push("0");
  return [...groups, ...after]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}

/** Removes limits whose window has ended, at most 10,000. Returns how many. */
export async function purgeRateLimits(db: Database): Promise<number> {
  return (await db.row(LIMITS_PURGE, []))?.purged ?? 0;
}

// Rows that a request is counting at the moment are skipped.
const LIMITS_PURGE = write<{ purged: number }>(
  "rate_limits_purge",
  `with purged as (
     delete from rate_limits where key in (
       select key from rate_limits where ends_at < now()
        order by ends_at limit ${PURGE_BATCH} for update skip locked)
     returning key)
   select count(*)::integer as purged from purged`,
);
