import { availableParallelism } from "node:os";
import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { StatementObserver } from "../observability/observers.ts";
import { createBatches } from "./batches.ts";
import { type BoundedPool, createBoundedPool, type PoolLimits, type PoolState } from "./bounded-pool.ts";
import { type FollowedServer, followServer, MOMENT_MS } from "./followed-server.ts";
import { type DatabaseState, openProbe, PROBE_TIMEOUT_MS } from "./probe.ts";
import { openReplicas, type ReplicasState } from "./replicas.ts";
import { retried } from "./retries.ts";
import { type NamedParameters, type Parameters, positional, type Speed, type Statement } from "./statements.ts";

/** `slow` is for reads that may take long, `search` for searches. The last three are connections to a replica. */
export type PoolName = (typeof POOLS)[number];
export const POOLS = ["read", "write", "slow", "search", "replica_read", "replica_slow", "replica_search"] as const;

/** What runs statements: the database, or one transaction on it. */
export type Queries = {
  /** Runs a statement. Throws `ApiError` "unavailable" if the database cannot be reached, otherwise the driver's error. */
  rows<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]>;
  /** The first row of a statement; undefined if there is none. */
  row<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row | undefined>;
  /**
   * Runs statements in one transaction: it commits when `work` resolves, and rolls back when it throws. Where PostgreSQL rolled
   * it back (a deadlock), or its server turned out to be a standby, `work` runs again: it must change nothing but the database.
   * Within a transaction, `work` becomes a part of it. Throws what `work` throws, or as `rows`.
   */
  transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result>;
};

export type Database = Queries & {
  /** Asks for the state of the database on a connection of its own, at most 2 s, so that load does not look like an outage. */
  probe(): Promise<DatabaseState>;
  /** Whether the primary has been missing for longer than a moment. */
  isAway(): boolean;
  /** Which server the connections lead to. */
  readonly primary: FollowedServer;
  /** From now on, no statement waits for the end of an outage. Call this before you wait for statements at a shutdown. */
  stopWaiting(): void;
  /** Pools without a replica are empty. */
  state(): Record<PoolName, PoolState>;
  /** Of `DATABASE_READ_URL`; undefined without it. */
  replicas(): ReplicasState | undefined;
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

/** Follows the server of an address, with connections outside the pools. */
export const openFollowed = (address: DatabaseAddress, connectTimeoutMs: number): FollowedServer =>
  followServer(
    address,
    (server) =>
      new SQL({
        ...connectionOptions(server, 1, { application_name: "conduit search" }),
        connectionTimeout: connectTimeoutMs / 1000,
      } as SQL.Options),
    connectTimeoutMs,
  );

type OpenOptions = {
  readonly connections: number;
  readonly depth?: number;
  readonly planCacheMode: string;
  readonly statementTimeoutMs?: number;
  readonly failoverWaitMs: number;
  readonly first?: BoundedPool;
};

/** Most statements have one good plan, whatever their values: they are planned once a connection. */
const ONE_PLAN = "force_generic_plan";
/** Those that may take long are planned for their values at each call. */
const PLAN_EACH = "force_custom_plan";

const NONE: PoolState = { inUse: 0, max: 0, waiting: 0 };

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
 * their own. They wait for each other there, and for nobody else.
 */
export function openDatabase(address: DatabaseAddress, limits: PoolLimits, observer?: StatementObserver): Database {
  const pools: Partial<Record<PoolName, BoundedPool>> = {};
  const poolsOf = new Map<FollowedServer, BoundedPool[]>();

  /** A primary that becomes a standby closes its connections, accepts others soon after, and would serve old rows. */
  function onLost(server: FollowedServer): void {
    if (!server.mustBePrimary) return;
    for (const pool of poolsOf.get(server) ?? []) pool.verify();
  }

  function open(server: FollowedServer, name: PoolName, options: OpenOptions): BoundedPool {
    const { connections, depth = 1, planCacheMode, statementTimeoutMs = limits.statementTimeoutMs, first } = options;
    const pool = createBoundedPool({
      connect: (report) =>
        new SQL({
          ...connectionOptions(server.server(), 1, {
            statement_timeout: String(statementTimeoutMs),
            idle_in_transaction_session_timeout: String(IDLE_IN_TRANSACTION_TIMEOUT_MS),
            // Compiling a statement to machine code costs more than any of ours takes.
            jit: "off",
            plan_cache_mode: planCacheMode,
          }),
          connectionTimeout: limits.connectTimeoutMs / 1000,
          onconnect: () => report(true),
          onclose: () => report(false),
        } as SQL.Options),
      server,
      limits: { ...limits, failoverWaitMs: options.failoverWaitMs },
      connectionsMax: connections,
      depth,
      onWait: (ms) => observer?.onWait(name, ms),
      onLost: () => onLost(server),
      ...(first === undefined ? {} : { first }),
    });
    pools[name] = pool;
    poolsOf.set(server, [...(poolsOf.get(server) ?? []), pool]);
    return pool;
  }

  function openReads(
    server: FollowedServer,
    prefix: "" | "replica_",
    failoverWaitMs: number,
  ): Record<Speed, BoundedPool> {
    const connections = readConnections(limits.poolMax);
    const fast = open(server, `${prefix}read`, { connections, depth: 64, planCacheMode: ONE_PLAN, failoverWaitMs });
    const slow = { connections: SLOW_CONNECTIONS, planCacheMode: PLAN_EACH, failoverWaitMs, first: fast };
    const statementTimeoutMs = Math.min(limits.statementTimeoutMs || SEARCH_TIMEOUT_MS, SEARCH_TIMEOUT_MS);
    return {
      fast,
      slow: open(server, `${prefix}slow`, slow),
      search: open(server, `${prefix}search`, { ...slow, statementTimeoutMs }),
    };
  }

  const { failoverWaitMs = 0, poolMax, connectTimeoutMs } = limits;
  const primary = openFollowed(address, connectTimeoutMs);
  const reads = openReads(primary, "", failoverWaitMs);
  const writeOptions = { connections: poolMax, planCacheMode: ONE_PLAN, failoverWaitMs, first: reads.fast };
  const writes = open(primary, "write", writeOptions);

  // Nothing waits for a standby that is away: the primary serves.
  const standby = address.replicas && openFollowed(address.replicas, connectTimeoutMs);
  const replicas = standby && openReplicas(standby, openReads(standby, "replica_", 0), { reads: reads.fast, writes });

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
    ({ text }, values) => writes.run(text, values),
    (statement, durationMs, error) => observer?.onStatement(statement, durationMs, error),
    limits.batchLockTimeoutMs ?? BATCH_LOCK_TIMEOUT_MS,
  );

  const { mustBePrimary } = primary;
  const readRetries = { isRead: true, mustBePrimary, waitMs: failoverWaitMs };
  const retries = {
    fast: { ...readRetries, pool: reads.fast },
    slow: { ...readRetries, pool: reads.slow },
    search: { ...readRetries, pool: reads.search },
    write: { isRead: false, mustBePrimary, waitMs: failoverWaitMs, pool: writes },
  };

  function rows<Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]> {
    if (statement.batchKey !== undefined) {
      return observed(statement, async () => [
        await retried(retries.write, () => batches.row(statement, parameters as NamedParameters)),
      ]);
    }
    const values = positional(statement, parameters);
    const isWrite = statement.kind === "write";
    const how = retries[isWrite ? "write" : statement.speed];
    const run = () => retried(how, () => how.pool.run(statement.text, values));
    if (replicas === undefined || isWrite) return observed(statement, run);
    return observed(statement, async () => (await replicas.rows(statement, values)) ?? (await run()));
  }

  function transaction<Result>(work: (tx: Queries) => Promise<Result>): Promise<Result> {
    return retried(retries.write, () =>
      writes.transaction((run) => {
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
      if (since === undefined) return false;
      // A search can last while a primary refuses new connections and runs statements on those that are open.
      const usedAt = Math.max(...(poolsOf.get(primary) ?? []).map((pool) => pool.succeededAt()));
      return performance.now() - Math.max(since, usedAt) > MOMENT_MS;
    },
    primary,
    stopWaiting() {
      for (const pool of all) pool.stopWaiting();
    },
    state: () =>
      Object.fromEntries(POOLS.map((name) => [name, pools[name]?.state() ?? NONE])) as Record<PoolName, PoolState>,
    replicas: () => replicas?.state(),
    close: async (timeoutMs) => {
      primary.stop();
      standby?.stop();
      replicas?.stop();
      await Promise.all([probe.close(), ...all.map((pool) => pool.close(timeoutMs))]);
    },
  };
}
