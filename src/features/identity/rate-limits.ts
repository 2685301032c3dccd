import { createHash } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import type { Database, Queries } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { textArray, write } from "../../db/statements.ts";
import type { ClientAddress } from "../../http/client-address.ts";
import { ApiError } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";
import { addressKeyOf, networkKeyOf } from "./networks.ts";

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
    // Wrong passwords. Attempts from a network that the account knows are counted for that network alone: see `loginAttempts`.
    user: { max: 10, windowS: 15 * MINUTE_S, from: "last" },
  },
  // Wrong current passwords in PUT /api/user, by session: a thief's guesses do not stop the owner.
  password: { user: { max: 10, windowS: 15 * MINUTE_S, from: "last" } },
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
  // Mails with a link that somebody requests: of the sender's network, and of the mailbox, whatever its +suffix.
  mail: {
    network: { max: 2_000, windowS: 60 * MINUTE_S, from: "first" },
    user: { max: 20, windowS: 60 * MINUTE_S, from: "last" },
  },
} as const satisfies Record<string, Limits>;

/** By address (IPv6: /64), by network (IPv4 /24, IPv6 /48), and by user or whatever else a request is about. */
type Limits = { readonly address?: RateLimit; readonly network?: RateLimit; readonly user?: RateLimit };

export type LimitedAction = keyof typeof RATE_LIMITS;

export type RateLimits = {
  /**
   * Counts an action for the client's address and, if given, for a user. Reports in the response headers how much is left.
   * Throws 429.
   * @param user identifies the user: an email key, or an id
   */
  count(c: Context, action: LimitedAction, user?: string): Promise<void>;
  /** The same, for the user alone. */
  countUser(c: Context, action: LimitedAction, user: string): Promise<void>;
  /**
   * Counts an attempt to prove a password, without headers: they would reveal when the owner signs in. Throws 429. The
   * attempt counts as wrong until `forget` or `forgetAll`; `extend` if it was.
   * @param whom whose attempts are counted together
   */
  countAttempt(action: "login" | "password", whom: string): Promise<Attempt>;
  /** A guard that counts, for the address alone without `userOf`. It comes before the guard that reads the body. */
  limit<Variables extends object = object>(
    action: LimitedAction,
    userOf?: (c: Context<{ Variables: Variables }>) => string,
  ): MiddlewareHandler<{ Variables: Variables }>;
};

/** An attempt that was counted. */
export type Attempt = {
  /**
   * Lets the window last its whole time from a wrong attempt on. Only that: if the right password moved the window too, an
   * attacker could tell from its end that the owner has signed in.
   */
  extend(): Promise<void>;
  /** Takes back this attempt alone, which turned out not to be wrong, or was not made. */
  forget(): Promise<void>;
  /** Starts again from zero. */
  forgetAll(): Promise<void>;
};

/** @param limits null for no limits */
export function createRateLimits(
  db: Database,
  addressOf: ClientAddress,
  limits: Record<LimitedAction, Limits> | null = RATE_LIMITS,
): RateLimits {
  async function countFor(c: Context, action: LimitedAction, address: string | null, user?: string): Promise<void> {
    if (limits === null) return;
    const of: Limits = limits[action];
    const whom = {
      address: address === null ? undefined : addressKeyOf(address),
      network: address === null ? undefined : networkKeyOf(address),
      user,
    };
    const counted = (["address", "network", "user"] as const).flatMap((by) => {
      const [limit, counts] = [of[by], whom[by]];
      return limit === undefined || counts === undefined ? [] : [{ key: limitKey(action, by, counts), by, limit }];
    });
    const states = await countAll(db, counted);
    // What others do for the same user, or for the same mailbox, is nobody else's business: not how often, not when.
    const isTheUser = user !== undefined && user === c.get("userId");
    reportHeaders(c, isTheUser ? states : states.filter(({ by }) => by !== "user"));
    requireRoom(states);
  }

  async function countAttempt(action: "login" | "password", whom: string): Promise<Attempt> {
    const limit = limits?.[action].user;
    if (limit === undefined) return { extend: async () => {}, forget: async () => {}, forgetAll: async () => {} };
    const key = limitKey(action, "user", whom);
    requireRoom(await countAll(db, [{ key, by: "user", limit: { ...limit, from: "first" } }]));
    return {
      extend: async () => void (limit.from === "last" && (await db.rows(LIMIT_EXTEND, [key, limit.windowS]))),
      forget: async () => void (await db.rows(LIMIT_FORGET, [key])),
      forgetAll: async () => void (await db.rows(LIMIT_CLEAR, [key])),
    };
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
    countUser: (c, action, user) => countFor(c, action, null, user),
    countAttempt,
  };
}

type Counted = { readonly key: string; readonly limit: RateLimit; readonly amount?: number };
type Count = { key: string; count: number; ends_in_s: number };
type State = { name: string; by: keyof Limits; limit: RateLimit; left: number; isExceeded: boolean; endsInS: number };

async function countAll(db: Database, counted: (Counted & { by: keyof Limits })[]): Promise<State[]> {
  if (counted.length === 0) return [];
  const rows = await countInDatabase(db, counted);
  return counted.flatMap(({ key, by, limit }) => {
    const row = rows.find((candidate) => candidate.key === key);
    if (row === undefined) return [];
    const name = key.split(":", 2).join("-");
    const left = Math.max(limit.max - row.count, 0);
    return [
      { name, by, limit, left, isExceeded: row.count > limit.max, endsInS: Math.max(Math.ceil(row.ends_in_s), 1) },
    ];
  });
}

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

const LIMIT_EXTEND = write(
  "rate_limit_extend",
  "update rate_limits set ends_at = now() + $2::float8 * interval '1 second' where key = $1",
);

const LIMIT_FORGET = write(
  "rate_limit_forget",
  "update rate_limits set count = count - 1 where key = $1 and count > 0",
);

/** What is left and for how long, and the limits themselves (draft-ietf-httpapi-ratelimit-headers-10). */
function reportHeaders(c: Context, states: State[]): void {
  for (const { name, limit, left, endsInS } of states) {
    c.header("RateLimit", `"${name}";r=${left};t=${endsInS}`, { append: true });
    c.header("RateLimit-Policy", `"${name}";q=${limit.max};w=${limit.windowS}`, { append: true });
  }
}

/** Throws 429 if a limit is exceeded. */
function requireRoom(states: State[]): void {
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
export function limitKey(action: string, by: keyof Limits, whom: string): string {
  return `${action}:${by}:${createHash("sha256").update(whom).digest("base64url").slice(0, 22)}`;
}

/** Forgets what was counted for a user. @param user as for `count` */
export async function clearRateLimit(tx: Queries, action: LimitedAction, user: string): Promise<void> {
  await tx.rows(LIMIT_CLEAR, [limitKey(action, "user", user)]);
}

const LIMIT_CLEAR = write("rate_limit_clear", "delete from rate_limits where key = $1");

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
