import type { Context, MiddlewareHandler } from "hono";
import { LRUCache } from "lru-cache";
import type { Database } from "../../db/pool.ts";
import type { ClientAddress } from "../../http/client-address.ts";
import { describeGuard } from "../../http/openapi.ts";
import { addressKeyOf } from "./networks.ts";
import { countInDatabase, limitKey, tooManyRequests } from "./rate-limits.ts";

type WriteAction = "articles" | "article-bytes" | "comments" | "follows" | "favorites" | "renames";

/** How much an account may write in a time. All accounts of a network together may write `networkFactor` times as much. */
export type WriteRates = Readonly<Record<WriteAction, { readonly max: number; readonly windowS: number }>> & {
  readonly networkFactor: number;
};

export type WriteLimits = {
  /** Counts a write for the account and the client's network. Throws 429, and then counts nothing. */
  count(c: Context, action: WriteAction, userId: string, amount?: number): void;
  /**
   * A guard that counts a write for the account and the client's network. It comes after `requireUser`, and before the guard
   * that reads the body unless the amount depends on it. Throws 429, and then counts nothing.
   * @param amountOf how much it counts; 1 by default
   */
  limit<Variables extends object = object>(
    action: WriteAction,
    amountOf?: (c: Context<{ Variables: Variables }>) => number,
  ): MiddlewareHandler<{ Variables: Variables & { userId: string } }>;
};

/** What was counted in one window under one key. */
type Count = {
  readonly key: string;
  readonly max: number;
  readonly windowS: number;
  /** By all servers, as far as this one knows. */
  total: number;
  /** What the database does not know yet. */
  pending: number;
  endsAtMs: number;
};

/** How long the database, and so another server, may not know of a write. */
const FLUSH_INTERVAL_MS = 1_000;
/** Counts that one flush adds: few enough for any statement timeout. After an outage of the database, there may be many. */
const FLUSH_MAX = 10_000;
/** PostgreSQL's integer has room for this and what is counted within a second. */
const NETWORK_MAX = 2_000_000_000;
/** Accounts and networks that are remembered. The count of one that is forgotten comes back with its next flush. */
const COUNTS_MAX = 100_000;

/**
 * Limits writes. This server counts in memory, which costs a request a microsecond, and once a second adds what it counted
 * to the database, which returns what all servers counted. So a limit is exact on one server, and on several it may be
 * exceeded by what they allow within a second.
 * @param rates null for no limits
 */
export function createWriteLimits(db: Database, addressOf: ClientAddress, rates: WriteRates | null): WriteLimits {
  const counts = new LRUCache<string, Count>({ max: COUNTS_MAX });
  const pending = new Set<Count>();
  let isScheduled = false;

  function countOf(key: string, max: number, windowS: number): Count {
    const nowMs = Date.now();
    let count = counts.get(key);
    if (count === undefined || count.endsAtMs <= nowMs) {
      count = { key, max, windowS, total: 0, pending: 0, endsAtMs: nowMs + windowS * 1000 };
      counts.set(key, count);
    }
    return count;
  }

  function count(c: Context, action: WriteAction, userId: string, amount = 1): void {
    if (rates === null) return;
    const { max, windowS } = rates[action];
    const address = addressOf(c);
    const counted = [countOf(`${action} user ${userId}`, max, windowS)];
    if (address !== null) {
      const networkMax = Math.min(max * rates.networkFactor, NETWORK_MAX);
      counted.push(countOf(`${action} address ${addressKeyOf(address)}`, networkMax, windowS));
    }
    const exceeded = counted.filter((one) => one.total + amount > one.max);
    if (exceeded.length > 0) throw refusal(exceeded);
    for (const one of counted) {
      one.total += amount;
      one.pending += amount;
      pending.add(one);
    }
    scheduleFlush();
  }

  function scheduleFlush(): void {
    if (isScheduled) return;
    isScheduled = true;
    setTimeout(flush, FLUSH_INTERVAL_MS).unref();
  }

  async function flush(): Promise<void> {
    isScheduled = false;
    const sent = [...pending.values().take(FLUSH_MAX)].map((count) => ({ count, amount: count.pending }));
    for (const { count } of sent) {
      pending.delete(count);
      count.pending = 0;
    }
    if (pending.size > 0) scheduleFlush();
    try {
      const rows = await countInDatabase(
        db,
        sent.map(({ count, amount }) => ({
          key: storedKey(count.key),
          limit: { max: count.max, windowS: count.windowS, from: "first" },
          amount,
        })),
      );
      const byKey = new Map(rows.map((row) => [row.key, row]));
      for (const { count } of sent) {
        const row = byKey.get(storedKey(count.key));
        if (row === undefined) continue;
        count.total = row.count + count.pending;
        count.endsAtMs = Date.now() + row.ends_in_s * 1000;
      }
    } catch {
      // The database cannot be reached, which the requests themselves report. The next flush adds these too.
      for (const { count, amount } of sent) {
        count.pending += amount;
        pending.add(count);
      }
    }
  }

  return {
    count,
    limit(action, amountOf = () => 1) {
      const guard: MiddlewareHandler = function limitWrites(c, next) {
        count(c, action, c.get("userId"), amountOf(c));
        return next();
      };
      return describeGuard(guard, { errors: ["too_many_requests"] });
    },
  };
}

function refusal(exceeded: Count[]) {
  const waitS = Math.max(...exceeded.map(({ endsAtMs }) => Math.ceil((endsAtMs - Date.now()) / 1000)), 1);
  const name = ({ key }: Count) => key.split(" ", 2).join("-");
  return tooManyRequests(waitS, {
    RateLimit: exceeded
      .map((count) => `"${name(count)}";r=${Math.max(count.max - count.total, 0)};t=${waitS}`)
      .join(", "),
    "RateLimit-Policy": exceeded.map((count) => `"${name(count)}";q=${count.max};w=${count.windowS}`).join(", "),
  });
}

/** The key in the database, as for other limits. */
function storedKey(key: string): string {
  const [action = "", by, whom = ""] = key.split(" ");
  return limitKey(action, by === "user" ? "user" : "address", whom);
}
