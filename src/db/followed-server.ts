import { SQL } from "bun";
import { type DatabaseAddress, serversOf } from "../config/database-address.ts";
import { read } from "./statements.ts";

/** How often new connections are tried, since an earlier attempt may never get a response. */
const ATTEMPT_INTERVAL_MS = 500;
/** The most attempts at a server without a response at a time. */
const ATTEMPTS_MAX = 8;
/** How many rounds a search looks for another server than one that refuses new connections, where any will do. */
const REFUSED_ROUNDS = 2;
/** To replace one bad connection takes a moment, for which statements wait in any case. What takes longer is an outage. */
export const MOMENT_MS = 500;

/**
 * Which server of an address to connect to. Whoever cannot connect to it, or finds that it is none of those wanted, asks for
 * a search. All connections of the process to this address go to the server that the last search has found.
 */
export type FollowedServer = {
  server(): DatabaseAddress;
  /** With `target_session_attrs=read-write`: a standby is of no use. */
  readonly mustBePrimary: boolean;
  /** Searches until a server can be used. Joins a search that is running. Never rejects; pending for ever after `stop`. */
  search(): Promise<void>;
  /** When the search began that is running, by `performance.now()`. */
  searchingSince(): number | undefined;
  /** Calls a function at the end of each search, before the promise of the search resolves. */
  onFound(hear: (hasMoved: boolean) => void): void;
  stop(): void;
};

/** What a driver needs that makes its own connections. */
export type CurrentServer = Pick<FollowedServer, "server" | "onFound">;

/** The first server of an address, for what does not outlive it. */
export const firstServer = (address: DatabaseAddress): CurrentServer => ({ server: () => address, onFound() {} });

/**
 * Follows the primary of a cluster, or a standby, from one server to another, and waits for a single server that restarts.
 * @param open makes a connection to a server, which connects with its first statement
 * @param attemptTimeoutMs how long an attempt may take
 */
export function followServer(
  address: DatabaseAddress,
  open: (server: DatabaseAddress) => SQL,
  attemptTimeoutMs: number,
): FollowedServer {
  const { target = "any" } = address;
  // Processes share the load of the standbys.
  const servers = target === "standby" ? shuffled(serversOf(address)) : serversOf(address);
  const listeners: ((hasMoved: boolean) => void)[] = [];
  let [server = address] = servers;
  let running: { since: number; found: Promise<void>; end(): void } | undefined;
  let isStopped = false;

  function search(): Promise<void> {
    if (isStopped) return new Promise(() => {});
    running ??= start();
    return running.found;
  }

  function start(): NonNullable<typeof running> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const attempts = new Map<SQL, DatabaseAddress>();
    let rounds = 0;
    let isOver = false;
    /** The present server is there, but has no connection left, or does not accept our password. */
    let isRefused = false;

    /** Alone at first: if several servers can be used, a move to another would cut what is in flight for nothing. */
    async function trySameServer(): Promise<void> {
      rounds++;
      await attempt(server);
      if (!isOver && target !== "any") tryServers();
    }

    function tryServers(): void {
      // No other one can be used either, and statements show why. For a primary, that is no end: one that was replaced may refuse
      // connections before the next one is there.
      if (isRefused && target !== "primary" && rounds > REFUSED_ROUNDS) {
        finish(server);
        return;
      }
      // Any server will do: the present one has half a second before the next is tried.
      const next =
        target !== "any" ? servers : [servers[(servers.indexOf(server) + rounds) % servers.length] ?? server];
      rounds++;
      for (const candidate of next) void attempt(candidate);
    }

    async function attempt(candidate: DatabaseAddress): Promise<void> {
      if ([...attempts.values()].filter((other) => other === candidate).length >= ATTEMPTS_MAX) return;
      const sql = open(candidate);
      attempts.set(sql, candidate);
      const timer = setTimeout(discard, attemptTimeoutMs, sql);
      try {
        const [is] = (await sql.unsafe(KIND.text)) as Record<typeof target, boolean>[];
        // Otherwise it was discarded meanwhile.
        if (attempts.has(sql) && is?.[target] === true) finish(candidate);
        else if (candidate === server) isRefused = false;
      } catch (error) {
        // Otherwise it is not ready, or no longer there. The next attempt shows when it is.
        if (candidate === server) isRefused = hasRefused(error);
      } finally {
        clearTimeout(timer);
        discard(sql);
      }
    }

    function discard(sql: SQL): void {
      if (attempts.delete(sql)) void closeConnection(sql, 0);
    }

    function end(): void {
      isOver = true;
      clearInterval(interval);
      for (const sql of attempts.keys()) discard(sql);
    }

    function finish(found: DatabaseAddress): void {
      end();
      const hasMoved = found !== server;
      server = found;
      running = undefined;
      for (const hear of listeners) hear(hasMoved);
      resolve();
    }

    const interval = setInterval(tryServers, ATTEMPT_INTERVAL_MS);
    interval.unref();
    void trySameServer();
    return { since: performance.now(), found: promise, end };
  }

  return {
    server: () => server,
    mustBePrimary: target === "primary",
    search,
    searchingSince: () => running?.since,
    onFound: (hear) => void listeners.push(hear),
    stop() {
      isStopped = true;
      running?.end();
      running = undefined;
    },
  };
}

const KIND = read<Record<NonNullable<DatabaseAddress["target"]>, boolean>>(
  "server_kind",
  `select true as any, not pg_is_in_recovery() as primary, pg_is_in_recovery() as standby`,
);

/** The server runs, and refuses the connection for a reason of its own, not because it starts or stops. */
const hasRefused = (error: unknown): boolean =>
  error instanceof SQL.PostgresError && error.errno !== undefined && !error.errno.startsWith("57P");

const shuffled = <Item>(items: readonly Item[]): Item[] =>
  items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);

/** Closes a connection of the driver when it is idle, after `timeoutMs` in any case. Never rejects; may never resolve. */
export function closeConnection(sql: SQL, timeoutMs: number): Promise<void> {
  return sql.close({ timeout: timeoutMs / 1000 }).catch(() => {});
}
