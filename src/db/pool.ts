import { availableParallelism } from "node:os";
import type { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { unavailable } from "../http/errors.ts";
import type { StatementObserver } from "../observability/observers.ts";
import { createBatches } from "./batches.ts";
import { type BoundedPool, createBoundedPool, type PoolLimits, type PoolState } from "./bounded-pool.ts";
import { isConnectionLost, isRolledBack, isUnavailable } from "./errors.ts";
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
  /**
   * Runs statements in one transaction: it commits when `work` resolves, and rolls back when it throws. After a deadlock
   * `work` runs again, so it must change nothing but the database. Within a transaction, `work` becomes a part of it. Throws
   * what `work` throws, or as `rows`.
   */
  transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result>;
};

export type Database = Queries & {
  /** Asks for the state of the database on a connection of its own, at most 2 s, so that load does not look like an outage. */
  probe(): Promise<DatabaseState>;
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
  const open = (
    name: PoolName,
    connections: number,
    depth: number,
    planCacheMode: string,
    statementTimeoutMs = limits.statementTimeoutMs,
  ): BoundedPool =>
    createBoundedPool(
      {
        ...connectionOptions(address, connections, {
          statement_timeout: String(statementTimeoutMs),
          idle_in_transaction_session_timeout: String(IDLE_IN_TRANSACTION_TIMEOUT_MS),
          // Compiling a statement to machine code costs more than any of ours takes.
          jit: "off",
          plan_cache_mode: planCacheMode,
        }),
        connectionTimeout: limits.connectTimeoutMs / 1000,
      },
      limits,
      connections,
      depth,
      (ms) => observer?.onWait(name, ms),
    );
  const pools: Record<PoolName, BoundedPool> = {
    // Most statements have one good plan, whatever their values: they are planned once a connection.
    read: open("read", readConnections(limits.poolMax), 64, "force_generic_plan"),
    write: open("write", limits.poolMax, 1, "force_generic_plan"),
    slow: open("slow", SLOW_CONNECTIONS, 1, "force_custom_plan"),
    search: open(
      "search",
      SLOW_CONNECTIONS,
      1,
      "force_custom_plan",
      Math.min(limits.statementTimeoutMs || SEARCH_TIMEOUT_MS, SEARCH_TIMEOUT_MS),
    ),
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

  function rows<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]> {
    if (statement.batchKey !== undefined) {
      return observed(statement, async () => [
        await retried(false, () => batches.row(statement, parameters as NamedParameters)),
      ]);
    }
    const values = positional(statement, parameters);
    return observed(statement, () =>
      retried(statement.kind === "read", () => poolOf(statement).run(statement.text, values)),
    );
  }

  function transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result> {
    return retried(false, () =>
      pools.write.transaction((run) => {
        const inTransaction: Queries["rows"] = (statement, parameters) =>
          observed(statement, () => run(statement.text, positional(statement, parameters)));
        const tx: Queries = {
          rows: inTransaction,
          row: async (statement, parameters) => (await inTransaction(statement, parameters))[0],
          transaction: (part) => part(tx),
        };
        return work(tx);
      }),
    );
  }

  const probe = openProbe(
    connectionOptions(address, 1, {
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
    state: () => ({
      read: pools.read.state(),
      write: pools.write.state(),
      slow: pools.slow.state(),
      search: pools.search.state(),
    }),
    close: async (timeoutMs) => {
      await Promise.all([probe.close(), ...all.map((pool) => pool.close(timeoutMs))]);
    },
  };
}

/**
 * Runs again what PostgreSQL rolled back. A read also runs again when its connection closed meanwhile: after a restart of
 * the server every pooled connection does. A write does not, since it may have taken effect.
 */
async function retried<Result>(isRead: boolean, run: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      const attemptsMax = isRolledBack(error) ? 5 : isRead && isConnectionLost(error) ? 3 : 1;
      if (attempt >= attemptsMax) throw isUnavailable(error) ? unavailable("database", 1, error) : error;
      await Bun.sleep(Math.random() * 20 * attempt);
    }
  }
}
