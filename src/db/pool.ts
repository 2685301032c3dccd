import { availableParallelism } from "node:os";
import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { unavailable } from "../http/errors.ts";
import type { StatementObserver } from "../observability/observers.ts";
import { createBatches } from "./batches.ts";
import { type BoundedPool, createBoundedPool, MOMENT_MS, type PoolLimits, type PoolState } from "./bounded-pool.ts";
import { isConnectionLost, isReadOnlyServer, isRolledBack, isUnavailable, wasNotSent } from "./errors.ts";
import { followPrimary, type Primary } from "./primary.ts";
import { type DatabaseState, openProbe, PROBE_TIMEOUT_MS } from "./probe.ts";
import { type NamedParameters, type Parameters, positional, type Statement } from "./statements.ts";

/** `slow` is for reads that may take long, `search` for searches. */
export type PoolName = "read" | "write" | "slow" | "search";

/** What runs statements: the database, or one transaction on it. */
export type Queries = {
  /** Runs a statement. Throws `ApiError` "unavailable" if the database cannot be reached, otherwise the driver's error. */
  rows<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]>;
  /** The first row of a statement; undefined if there is none. */
  row<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row | undefined>;
};

export type Database = Queries & {
  /**
   * Runs statements in one transaction: it commits when `work` resolves, and rolls back when it throws. After a deadlock
   * `work` runs again, so it must change nothing but the database. Throws what `work` throws, or as `rows`.
   */
  transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result>;
  /** Asks for the state of the database on a connection of its own, at most 2 s, so that load does not look like an outage. */
  probe(): Promise<DatabaseState>;
  /** Whether the primary has been missing for longer than a moment. */
  isAway(): boolean;
  /** Which server the connections lead to. */
  readonly primary: Primary;
  /** From now on, no statement waits for the end of an outage. Call this before you wait for statements at a shutdown. */
  stopWaiting(): void;
  state(): Record<PoolName, PoolState>;
  /** Waits at most `timeoutMs` for what is in flight, and closes every connection. */
  close(timeoutMs: number): Promise<void>;
};

/**
 * The driver's options for connections to an address. Everything is explicit, as the driver takes what is missing from `PG*`
 * variables.
 * @param session settings of the session. A transaction pooler refuses or loses them, so it gets only its own ones:
 *   `checkSession` reports limits that are missing then.
 */
export function connectionOptions(
  address: DatabaseAddress,
  max: number,
  { application_name = "conduit", ...session }: Record<string, string>,
): SQL.Options {
  return {
    adapter: "postgres",
    // Without a URL, Bun would read one from the environment. The options below override everything in this one but the
    // TLS mode, which Bun ignores when a certificate is given.
    url: `postgres://localhost?sslmode=${address.tls}`,
    hostname: address.hostname,
    port: address.port,
    username: address.username,
    // A function, as an empty password would be replaced by that of PGPASSWORD.
    password: () => address.password,
    database: address.database,
    ...(address.socketPath === undefined
      ? address.tlsCaFile === undefined
        ? { tls: address.tls }
        : { tls: { ca: Bun.file(address.tlsCaFile) } }
      : { path: address.socketPath, tls: false }),
    channelBinding: address.channelBinding ?? "disable",
    connectionTimeout: CONNECT_TIMEOUT_S,
    max,
    connection: {
      application_name: application_name.replace(/^conduit/, address.applicationName ?? "conduit"),
      timezone: "UTC",
      // Also if there are none, as PGOPTIONS would be sent instead.
      options: address.options ?? "",
      ...(address.direct === undefined
        ? {
            // Triggers and retries are written for it, whatever the database's own default is.
            default_transaction_isolation: "read committed",
            ...session,
          }
        : {}),
    },
  } as SQL.Options;
}

/** Follows the primary of an address, with connections outside the pools. */
export const openPrimary = (address: DatabaseAddress, connectTimeoutMs: number): Primary =>
  followPrimary(
    address,
    (server) =>
      new SQL({
        ...connectionOptions(server, 1, { application_name: "conduit search" }),
        connectionTimeout: connectTimeoutMs / 1000,
      } as SQL.Options),
    connectTimeoutMs,
  );

/** Where the caller sets no other. */
const CONNECT_TIMEOUT_S = 10;

/** How long a transaction may stay idle between two statements before the server ends its connection. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000;

/** Longer than other writers hold a lock, unless they are slow. */
const BATCH_LOCK_TIMEOUT_MS = 250;

/** Connections for slow reads, opened at first use, and as many for searches. Each may keep a core busy, so they leave one to the others. */
const SLOW_CONNECTIONS = availableParallelism() > 2 ? 2 : 1;

/** Pipelined reads gain little from more connections but wake-ups. Two at least, so that a slow read does not delay all others. */
const readConnections = (poolMax: number): number => Math.max(2, Math.ceil(poolMax / 4));

/** How many connections the pools of `openDatabase` and its probe open at most. */
export const connectionsOfPools = (poolMax: number): number =>
  poolMax + readConnections(poolMax) + 2 * SLOW_CONNECTIONS + 1;

/** No search takes nearly as long, and nobody waits for one that does. */
const SEARCH_TIMEOUT_MS = 2_000;

/**
 * Pools of connections with bounds on every wait.
 *
 * Reads and writes have connections of their own. Reads are pipelined: many travel on one connection, which doubles the
 * throughput of small ones (docs/performance.md). Writes are not: one may wait for a row lock of another transaction, and
 * would delay what comes behind it on the same connection. For the same reason, reads that may take long have connections of
 * their own. They wait for each other there, and for nobody else. They are planned for their values at each call.
 */
export function openDatabase(address: DatabaseAddress, limits: PoolLimits, observer?: StatementObserver): Database {
  const primary = openPrimary(address, limits.connectTimeoutMs);
  const open = (
    name: PoolName,
    connections: number,
    depth: number,
    planCacheMode: string,
    {
      statementTimeoutMs = limits.statementTimeoutMs,
      first,
    }: { statementTimeoutMs?: number; first?: BoundedPool } = {},
  ): BoundedPool =>
    createBoundedPool({
      connect: () =>
        new SQL({
          ...connectionOptions(primary.server(), 1, {
            statement_timeout: String(statementTimeoutMs),
            idle_in_transaction_session_timeout: String(IDLE_IN_TRANSACTION_TIMEOUT_MS),
            // Compiling a statement to machine code costs more than any of ours takes.
            jit: "off",
            plan_cache_mode: planCacheMode,
          }),
          connectionTimeout: limits.connectTimeoutMs / 1000,
        } as SQL.Options),
      primary,
      limits,
      connectionsMax: connections,
      depth,
      onWait: (ms) => observer?.onWait(name, ms),
      ...(first === undefined ? {} : { first }),
    });
  // Most statements have one good plan, whatever their values: they are planned once a connection.
  const first = open("read", readConnections(limits.poolMax), 64, "force_generic_plan");
  const pools: Record<PoolName, BoundedPool> = {
    read: first,
    write: open("write", limits.poolMax, 1, "force_generic_plan", { first }),
    slow: open("slow", SLOW_CONNECTIONS, 1, "force_custom_plan", { first }),
    search: open("search", SLOW_CONNECTIONS, 1, "force_custom_plan", {
      statementTimeoutMs: Math.min(limits.statementTimeoutMs || SEARCH_TIMEOUT_MS, SEARCH_TIMEOUT_MS),
      first,
    }),
  };

  const poolOf = ({ kind, speed }: Statement<unknown>) => (speed === "fast" ? pools[kind] : pools[speed]);

  async function observed<Row>(statement: Statement<Row>, run: () => Promise<unknown[]>): Promise<Row[]> {
    const started = performance.now();
    try {
      const rows = (await run()) as Row[];
      observer?.onStatement(statement, performance.now() - started, undefined);
      return rows;
    } catch (error) {
      observer?.onStatement(statement, performance.now() - started, error);
      throw error;
    }
  }

  const batches = createBatches(
    ({ text }, values) => pools.write.run(text, values),
    (statement, durationMs, error) => observer?.onStatement(statement, durationMs, error),
    limits.batchLockTimeoutMs ?? BATCH_LOCK_TIMEOUT_MS,
  );

  /**
   * Runs again what was not executed: the connection could not be established, the server turned out to be no primary, or
   * PostgreSQL rolled it back. A read also runs again when its connection closed meanwhile, as every connection does when
   * the server stops. A write does not, since it may have taken effect.
   */
  async function retried<Result>(pool: BoundedPool, isRead: boolean, run: () => Promise<Result>): Promise<Result> {
    const started = performance.now();
    for (let attempt = 1, outages = 0; ; ) {
      try {
        return await run();
      } catch (error) {
        if (wasNotSent(error) || (isReadOnlyServer(error) && primary.mustWrite)) {
          pool.recover();
          if (performance.now() - started > (limits.failoverWaitMs ?? 0)) throw unavailable("database", 1, error);
          // The pool waits until the primary is found. If that refuses connections all the same, the next attempt is later.
          await Bun.sleep(Math.random() * 20 * outages++);
          continue;
        }
        const attemptsMax = isRolledBack(error) ? 5 : isRead && isConnectionLost(error) ? 3 : 1;
        if (attempt >= attemptsMax) throw isUnavailable(error) ? unavailable("database", 1, error) : error;
        await Bun.sleep(Math.random() * 20 * attempt++);
      }
    }
  }

  function rows<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]> {
    if (statement.batchKey !== undefined) {
      return observed(statement, async () => [
        await retried(pools.write, false, () => batches.row(statement, parameters as NamedParameters)),
      ]);
    }
    const values = positional(statement, parameters);
    const pool = poolOf(statement);
    return observed(statement, () => retried(pool, statement.kind === "read", () => pool.run(statement.text, values)));
  }

  function transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result> {
    return retried(pools.write, false, () =>
      pools.write.transaction((run) => {
        const inTransaction: Queries["rows"] = (statement, parameters) =>
          observed(statement, () => run(statement.text, positional(statement, parameters)));
        return work({
          rows: inTransaction,
          row: async (statement, parameters) => (await inTransaction(statement, parameters))[0],
        });
      }),
    );
  }

  const probe = openProbe(primary, (server) =>
    connectionOptions(server, 1, {
      application_name: "conduit health",
      statement_timeout: String(PROBE_TIMEOUT_MS),
    }),
  );
  const all = Object.values(pools);
  return {
    rows,
    row: async (statement, parameters) => (await rows(statement, parameters))[0],
    transaction,
    probe: probe.check,
    isAway() {
      const since = primary.searchingSince();
      return since !== undefined && performance.now() - since > MOMENT_MS;
    },
    primary,
    stopWaiting() {
      for (const pool of all) pool.stopWaiting();
    },
    state: () => ({
      read: pools.read.state(),
      write: pools.write.state(),
      slow: pools.slow.state(),
      search: pools.search.state(),
    }),
    close: async (timeoutMs) => {
      primary.stop();
      await Promise.all([probe.close(), ...all.map((pool) => pool.close(timeoutMs))]);
    },
  };
}
