import { SQL, type TransactionSQL } from "bun";

export type PoolLimits = {
  /** Connections for writes. Reads, which are pipelined, have a quarter as many, but at least two. */
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** How long a statement may wait for a connection. */
  readonly queueTimeoutMs: number;
  /** How long a statement may run. */
  readonly statementTimeoutMs: number;
};

/** The state of a pool at this moment. */
export type PoolState = {
  /** Statements sent to the server and not finished. A transaction counts as one. */
  readonly inUse: number;
  /** How many may be in flight at a time. */
  readonly max: number;
  /** Statements that wait for a connection. */
  readonly waiting: number;
};

export type BoundedPool = {
  /**
   * Runs a statement.
   * @throws TimedOut after `queueTimeoutMs` without a connection, or after `statementTimeoutMs + connectTimeoutMs` without
   *   a response; otherwise the driver's error
   */
  run(text: string, parameters: readonly unknown[]): Promise<unknown[]>;
  /**
   * Runs statements in one transaction on one connection. Commits when `work` resolves, rolls back when it throws.
   * @throws what `work` throws, or as `run`
   */
  transaction<Result>(work: (run: BoundedPool["run"]) => Promise<Result>): Promise<Result>;
  state(): PoolState;
  /** Waits at most `timeoutMs` for what is in flight, and closes every connection. */
  close(timeoutMs: number): Promise<void>;
};

export class TimedOut extends Error {
  override name = "TimedOut";
  constructor(what: string) {
    super(`timed out waiting for ${what}`);
  }
}

/** `since` is undefined while a transaction has no statement in flight. */
type InFlight = { since: number | undefined; readonly pool: SQL; readonly reject: (error: Error) => void };
type Waiter = { readonly since: number; readonly proceed: () => void; readonly reject: (error: Error) => void };

const WATCH_INTERVAL_MS = 100;
/** How often a new connection is tried while the database hangs, since an earlier attempt may never get a response. */
const PROBE_INTERVAL_MS = 500;
/** The most attempts without a response at a time. */
const PROBES_MAX = 8;

/**
 * Connections with a bound on how many statements are in flight, and on how long a caller waits.
 *
 * The driver replaces a connection that closes. A connection that hangs (a network that lost it, a server that stands
 * still) gives no signal. It shows as a statement without a response for longer than the server lets a statement run. Then
 * this pool drops all its connections and probes for new ones; callers are refused meanwhile.
 *
 * @param onWait gets how long a statement waited for a connection, in milliseconds, when it had to wait
 */
export function createBoundedPool(
  options: SQL.Options,
  limits: PoolLimits,
  inFlightMax: number,
  onWait: (waitedMs: number) => void,
): BoundedPool {
  let pool = new SQL(options);
  let recovery: { readonly since: number; probedAt: number; readonly probes: Set<SQL> } | undefined;
  let isClosed = false;
  const inFlight = new Set<InFlight>();
  const waiters: Waiter[] = [];
  const hangTimeoutMs = limits.statementTimeoutMs + limits.connectTimeoutMs;

  // One timer for all statements: a timer for each cost 5 µs more a request.
  const watch = setInterval(() => {
    const now = performance.now();
    while (waiters[0] !== undefined && now - waiters[0].since > limits.queueTimeoutMs) {
      waiters.shift()?.reject(new TimedOut("a connection"));
    }
    for (const entry of inFlight) {
      if (entry.since === undefined || now - entry.since <= hangTimeoutMs) continue;
      inFlight.delete(entry);
      entry.reject(new TimedOut("a response"));
      if (entry.pool === pool && recovery === undefined) {
        recovery = { since: now, probedAt: Number.NEGATIVE_INFINITY, probes: new Set() };
        end(pool, hangTimeoutMs);
      }
    }
    if (recovery === undefined) return;
    if (now - recovery.probedAt >= PROBE_INTERVAL_MS && recovery.probes.size < PROBES_MAX) probe(recovery, now);
    if (isDown(now)) for (const waiter of waiters.splice(0)) waiter.reject(new TimedOut("the database"));
  }, WATCH_INTERVAL_MS);
  watch.unref();

  /** Opens another pool. The first that gets a response replaces the dropped one. */
  function probe(current: NonNullable<typeof recovery>, now: number): void {
    current.probedAt = now;
    const candidate = new SQL(options);
    current.probes.add(candidate);
    const discard = (loser: SQL) => {
      if (current.probes.delete(loser)) end(loser, 0);
    };
    const timer = setTimeout(() => discard(candidate), limits.connectTimeoutMs);
    candidate.unsafe("select 1").then(
      () => {
        clearTimeout(timer);
        if (recovery !== current || !current.probes.delete(candidate)) return end(candidate, 0);
        pool = candidate;
        recovery = undefined;
        for (const loser of current.probes) discard(loser);
        while (inFlight.size < inFlightMax && waiters.length > 0) admitNext();
      },
      () => {
        clearTimeout(timer);
        discard(candidate);
      },
    );
  }

  /** A pool with one bad connection is replaced at once, which is worth a short wait. A longer recovery is not. */
  const isDown = (now: number) => recovery !== undefined && now - recovery.since > PROBE_INTERVAL_MS;

  const isBusy = () => inFlight.size >= inFlightMax || waiters.length > 0 || recovery !== undefined;

  function run(text: string, parameters: readonly unknown[]): Promise<unknown[]> {
    return isBusy() ? admission().then(() => send(text, parameters)) : send(text, parameters);
  }

  function send(text: string, parameters: readonly unknown[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      const entry: InFlight = { since: performance.now(), pool, reject };
      inFlight.add(entry);
      pool.unsafe(text, parameters as unknown[]).then(
        (rows: unknown[]) => {
          resolve(rows);
          if (inFlight.delete(entry)) admitNext();
        },
        (error: unknown) => {
          reject(error);
          if (inFlight.delete(entry)) admitNext();
        },
      );
    });
  }

  async function transaction<Result>(work: (run: BoundedPool["run"]) => Promise<Result>): Promise<Result> {
    if (isBusy()) await admission();
    return await new Promise<Result>((resolve, reject) => {
      const entry: InFlight = { since: performance.now(), pool, reject };
      inFlight.add(entry);
      const finish = () => {
        if (inFlight.delete(entry)) admitNext();
      };
      pool
        .begin(async (connection: TransactionSQL) => {
          const result = await work(async (text, parameters) => {
            entry.since = performance.now();
            try {
              return (await connection.unsafe(text, parameters as unknown[])) as unknown[];
            } finally {
              entry.since = undefined;
            }
          });
          // The commit is in flight from here on.
          entry.since = performance.now();
          return result;
        })
        .then(resolve as (result: unknown) => void, reject)
        .finally(finish);
    });
  }

  /** Resolves when a statement may be sent. */
  async function admission(): Promise<void> {
    const since = performance.now();
    if (isDown(since)) throw new TimedOut("the database");
    try {
      await new Promise<void>((proceed, reject) => waiters.push({ proceed, reject, since }));
    } finally {
      onWait(performance.now() - since);
    }
  }

  function admitNext(): void {
    if (recovery === undefined) waiters.shift()?.proceed();
  }

  return {
    run,
    transaction,
    state: () => ({ inUse: inFlight.size, max: inFlightMax, waiting: waiters.length }),
    async close(timeoutMs) {
      if (isClosed) return;
      isClosed = true;
      clearInterval(watch);
      for (const candidate of recovery?.probes ?? []) end(candidate, 0);
      for (const waiter of waiters.splice(0)) waiter.reject(new TimedOut("the database"));
      // The driver's promise may stay pending when a connection hangs; the bound is kept here.
      await Promise.race([end(pool, timeoutMs), Bun.sleep(timeoutMs + 1_000)]);
    },
  };
}

function end(pool: SQL, timeoutMs: number): Promise<void> {
  return pool.close({ timeout: timeoutMs / 1000 }).catch(() => {});
}
