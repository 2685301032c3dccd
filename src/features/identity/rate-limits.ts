import { createHash } from "node:crypto";
import { isIPv6 } from "node:net";
import type { Context, MiddlewareHandler } from "hono";
import type { Database } from "../../db/pool.ts";
import { textArray, write } from "../../db/statements.ts";
import type { ClientAddress } from "../../http/client-address.ts";
import { ApiError } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";

/** So many in so many seconds. */
export type Limit = {
  readonly max: number;
  readonly windowS: number;
  /**
   * When the counting begins anew: `first` so long after the first that counted; `last` so long after the last one. The
   * latter lets no window of that length have more than `max`, wherever it begins.
   */
  readonly from: "first" | "last";
};

const MINUTE_S = 60;

/**
 * What is limited, by whom. Addresses have room for an office or a school behind one, and for test suites: 300
 * registrations within seconds are ordinary then. Accounts have not: a person mistypes three times, not ten.
 */
export const LIMITS = {
  register: { address: { max: 1_000, windowS: 10 * MINUTE_S, from: "first" } },
  login: {
    address: { max: 2_000, windowS: 10 * MINUTE_S, from: "first" },
    // Wrong passwords: a right one clears the count.
    account: { max: 10, windowS: 15 * MINUTE_S, from: "last" },
  },
  refresh: { address: { max: 2_000, windowS: 10 * MINUTE_S, from: "first" } },
  verify: { address: { max: 300, windowS: 10 * MINUTE_S, from: "first" } },
  resend: {
    address: { max: 60, windowS: 10 * MINUTE_S, from: "first" },
    account: { max: 5, windowS: 60 * MINUTE_S, from: "last" },
  },
  forgot: {
    address: { max: 60, windowS: 10 * MINUTE_S, from: "first" },
    account: { max: 5, windowS: 60 * MINUTE_S, from: "last" },
  },
  reset: { address: { max: 100, windowS: 10 * MINUTE_S, from: "first" } },
  // A new password or address by who is signed in: each costs a hashing, or a mail to whoever has that address.
  change: {
    address: { max: 300, windowS: 10 * MINUTE_S, from: "first" },
    account: { max: 10, windowS: 60 * MINUTE_S, from: "first" },
  },
} as const satisfies Record<string, { address: Limit; account?: Limit }>;

export type Limited = keyof typeof LIMITS;

export type Limits = {
  /**
   * Counts one more of something, for the client's address and, where given, for an account. Says in the answer's
   * headers how much is left. Throws 429.
   * @param account what the account is known by: an email's key, or a user's id
   */
  count(c: Context, what: Limited, account?: string): Promise<void>;
  /** Guard that does so. Behind the guards that find out which account is meant. */
  limit<Variables extends object = object>(
    what: Limited,
    accountOf?: (c: Context<{ Variables: Variables }>) => string,
  ): MiddlewareHandler<{ Variables: Variables }>;
};

/** @param limits null counts nothing */
export function createLimits(
  db: Database,
  addressOf: ClientAddress,
  limits: Record<Limited, { address: Limit; account?: Limit }> | null = LIMITS,
): Limits {
  const self: Limits = {
    async count(c, what, account) {
      if (limits === null) return;
      const { address: byAddress, account: byAccount } = limits[what];
      const counted: { key: string; limit: Limit }[] = [];
      const address = addressOf(c);
      if (address !== null) counted.push({ key: limitKey(what, "address", networkOf(address)), limit: byAddress });
      if (account !== undefined && byAccount !== undefined) {
        counted.push({ key: limitKey(what, "account", account), limit: byAccount });
      }
      if (counted.length === 0) return;
      const rows = await db.rows(LIMIT_COUNT, [
        textArray(counted.map(({ key }) => key)),
        textArray(counted.map(({ limit }) => String(limit.max))),
        textArray(counted.map(({ limit }) => String(limit.windowS))),
        textArray(counted.map(({ limit }) => String(limit.from === "last"))),
      ]);
      tell(c, rows, counted);
    },

    limit<Variables extends object>(what: Limited, accountOf?: (c: Context<{ Variables: Variables }>) => string) {
      const guard: MiddlewareHandler<{ Variables: Variables }> = async function limitRequest(c, next) {
        await self.count(c, what, accountOf?.(c));
        await next();
      };
      return describeGuard(guard, { errors: ["too_many_requests"] });
    },
  };
  return self;
}

type Count = { key: string; count: number; ends_in_s: number };

/** @throws 429 where one of the limits is passed */
function tell(c: Context, rows: Count[], counted: { key: string; limit: Limit }[]): void {
  const states = counted.flatMap(({ key, limit }) => {
    const row = rows.find((candidate) => candidate.key === key);
    if (row === undefined) return [];
    const name = key.split(":", 2).join("-");
    const left = Math.max(limit.max - row.count, 0);
    return [{ name, limit, left, passed: row.count > limit.max, endsInS: Math.max(Math.ceil(row.ends_in_s), 1) }];
  });
  // draft-ietf-httpapi-ratelimit-headers-10: what is left and for how long, and the rule itself.
  c.header("RateLimit", states.map(({ name, left, endsInS }) => `"${name}";r=${left};t=${endsInS}`).join(", "));
  c.header(
    "RateLimit-Policy",
    states.map(({ name, limit }) => `"${name}";q=${limit.max};w=${limit.windowS}`).join(", "),
  );
  const passed = states.filter((state) => state.passed);
  if (passed.length === 0) return;
  const waitS = Math.max(...passed.map(({ endsInS }) => endsInS));
  throw new ApiError(
    "too_many_requests",
    { requests: [`are too many, try again in ${waitS < 120 ? `${waitS} s` : `${Math.ceil(waitS / 60)} minutes`}`] },
    { "Retry-After": String(waitS) },
  );
}

/** A row's key. The hash keeps addresses, also mistyped ones of strangers, out of the table. */
export function limitKey(what: Limited, by: "address" | "account", whom: string): string {
  return `${what}:${by}:${createHash("sha256").update(whom).digest("base64url").slice(0, 22)}`;
}

/** SQL: `limitKey("login", "account", …)` of an email's key in this column. */
export const loginKeyOf = (emailKey: string): string =>
  `'login:account:' || left(translate(encode(sha256(convert_to(${emailKey}, 'UTF8')), 'base64'), '+/', '-_'), 22)`;

/** IPv6 by the /64 that one customer has at least (RFC 6177): who has 2^64 addresses is still one. */
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

// Past the maximum nothing moves: who is refused neither waits longer for it nor shortens another's wait. In the order
// of the keys, so that two of these wait for each other but never in a circle.
const LIMIT_COUNT = write<Count>(
  "limit_count",
  `insert into rate_limits as l (key, count, max, ends_at)
   select n.key, 1, n.max::integer, now() + n.window_s::float8 * interval '1 second'
     from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as n (key, max, window_s, from_last)
    order by n.key
   on conflict (key) do update
      set count   = case when l.ends_at <= now() then 1 else least(l.count, excluded.max) + 1 end,
          max     = excluded.max,
          ends_at = case when l.ends_at <= now() then excluded.ends_at
                         when l.count < excluded.max and l.key = any (
                           select f.key from unnest($1::text[], $4::text[]) as f (key, from_last) where f.from_last::boolean)
                           then excluded.ends_at
                         else l.ends_at end
   returning key, count, extract(epoch from ends_at - now())::float8 as ends_in_s`,
);

/** Removes what has ended. */
export async function purgeLimits(db: Database): Promise<void> {
  await db.rows(LIMITS_PURGE, []);
}

const LIMITS_PURGE = write("limits_purge", "delete from rate_limits where ends_at < now()");
