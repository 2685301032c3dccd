import { SQL, type TransactionSQL } from "bun";
import { closeConnection, type FollowedServer, MOMENT_MS } from "./followed-server.ts";
import { createOutages } from "./outages.ts";

export type PoolLimits = {
  /** Connections for writes. Reads, which are pipelined, have a quarter as many, but at least two. */
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** How long a statement may wait for a connection, and behind others on it. */
  readonly queueTimeoutMs: number;
  /** How long a statement may run. */
  readonly statementTimeoutMs: number;
  /** How long after the beginning of an outage statements wait for its end; 0 by default. */
  readonly failoverWaitMs?: number;
  /** How long a batch may wait for a lock before its calls run alone; 250 by default. */
  readonly batchLockTimeoutMs?: number;
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
   * @throws TimedOut after `queueTimeoutMs` in which it could not run, or after `statementTimeoutMs + connectTimeoutMs` without
   *   a response; during an outage, `failoverWaitMs` after it began; otherwise the driver's error
   */
  run(text: string, parameters: readonly unknown[]): Promise<unknown[]>;
  /**
   * Runs statements in one transaction on one connection. Commits when `work` resolves, rolls back when it throws.
   * @throws what `work` throws, or as `run`
   */
  transaction<Result>(work: (run: BoundedPool["run"]) => Promise<Result>): Promise<Result>;
  /**
   * For who finds that the server is of no use. Statements wait until a search has found one, and then get new connections.
   * @returns for how many milliseconds no statement has succeeded, since the first of the outages that this one continues
   */
  recover(): number;
  /**
   * For who has lost a connection to the server. Until a search has found a server, statements use only connections that are open,
   * and wait where there is none.
   */
  verify(): void;
  /** Whether no statement is sent, as the server is away. */
  isOut(): boolean;
  /** When the last statement succeeded, by `performance.now()`. */
  succeededAt(): number;
  /** From now on, no statement waits for the end of an outage. */
  stopWaiting(): void;
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

/** The driver says "closed" of a connection that was not established when this pool closed it. */
function notSent(error: unknown): Error {
  const isClosed = error instanceof SQL.PostgresError && error.code === "ERR_POSTGRES_CONNECTION_CLOSED";
  return isClosed
    ? new SQL.PostgresError("Connection closed before it was established", { code: "ERR_POSTGRES_CONNECTION_FAILED" })
    : (error as Error);
}

/** One connection of the driver, which runs what is in flight on it one after the other. */
type Connection = {
  readonly sql: SQL;
  /** Whether it is established. */
  isOpen: boolean;
  /** In the order in which they run. */
  readonly inFlight: Set<InFlight>;
  /** When the statement at its head was sent, or got there because the one before it finished. */
  headSince: number;
  /** Set while a transaction holds it, which may be idle between two statements. */
  transaction: { isIdle: boolean } | undefined;
};
type InFlight = {
  readonly since: number;
  readonly reject: (error: Error) => void;
  /** Whether the connection was ever established meanwhile. */
  mayBeSent: boolean;
};
type Waiter = { since: number; proceed: () => void; reject: (error: Error) => void };

const WATCH_INTERVAL_MS = 100;
/** A connection whose statement runs longer than this is used for further ones only if there is no other. */
const SLOW_MS = 20;
/** The most statements that wait for the end of an outage. */
const WAITERS_MAX = 1_000;

export type BoundedPoolOptions = {
  /** Makes a connection to the server of the moment, which reports whether it is established. */
  readonly connect: (report: (isOpen: boolean) => void) => SQL;
  readonly server: FollowedServer;
  readonly limits: PoolLimits;
  /** How many connections to open, each when it is first needed. */
  readonly connectionsMax: number;
  /** How many statements may be in flight on each. */
  readonly depth: number;
  /** Gets how long a statement waited for a connection, in milliseconds, when it had to wait. */
  readonly onWait: (waitedMs: number) => void;
  /** The pool whose statements go first after an outage. */
  readonly first?: Pick<BoundedPool, "state">;
  /** Called when a connection closes that was established. */
  readonly onLost?: () => void;
};

/**
 * Connections with a bound on how many statements are in flight, and on how long a caller waits.
 *
 * The driver replaces a connection that closes. A connection that hangs (a network that lost it, a server that stands
 * still) gives no signal. It shows as a statement that has been at the head of its connection for longer than the server
 * lets a statement run. Then this pool replaces all its connections as soon as a search has found a server; callers wait
 * meanwhile, for a bounded time. A queue of slow statements is no sign of that: each of them gets its time from when the one
 * before it has finished.
 */
export function createBoundedPool(options: BoundedPoolOptions): BoundedPool {
  const { connect, server, limits, connectionsMax, depth, onWait, first, onLost } = options;
  function newConnection(): Connection {
    const sql = connect((isOpen) => {
      const isLost = connection.isOpen && !isOpen && !isClosed && connections.includes(connection);
      connection.isOpen = isOpen;
      if (isOpen) for (const entry of connection.inFlight) entry.mayBeSent = true;
      if (isLost) onLost?.();
    });
    const connection: Connection = { sql, isOpen: false, inFlight: new Set(), headSince: 0, transaction: undefined };
    return connection;
  }
  const newConnections = () => Array.from({ length: connectionsMax }, newConnection);
  const inFlightMax = connectionsMax * depth;
  let connections = newConnections();
  /** Whether a new connection may lead to a server that is of no use. */
  let isVerifying = false;
  let isClosed = false;
  let inUse = 0;
  let succeededAt = Number.NEGATIVE_INFINITY;
  /** Waiters that may proceed and have not sent their statement yet. */
  let admitted = 0;
  const waiters: Waiter[] = [];
  const hangTimeoutMs = limits.statementTimeoutMs + limits.connectTimeoutMs;
  const outages = createOutages({
    server,
    limits,
    async whenFirstHasSent() {
      const deadline = performance.now() + MOMENT_MS;
      while (first !== undefined && first.state().waiting > 0 && performance.now() < deadline) await Bun.sleep(1);
    },
    replaceConnections: (hasMoved) => replaceConnections(hasMoved ? 0 : hangTimeoutMs),
    onEnd() {
      const now = performance.now();
      // Their time to wait for a connection begins when there are connections.
      for (const waiter of waiters) waiter.since = now;
      admitAll();
    },
  });

  // One timer for all statements: a timer for each cost 5 µs more a request.
  const watch = setInterval(() => {
    const now = performance.now();
    if (outages.isOn()) {
      // Those that waited before it began.
      for (const waiter of waiters.splice(WAITERS_MAX)) waiter.reject(new TimedOut("the database"));
    } else {
      while (waiters[0] !== undefined && now - waiters[0].since > limits.queueTimeoutMs) {
        waiters.shift()?.reject(new TimedOut("a connection"));
      }
    }
    for (const connection of connections) rejectLate(connection, now);
    const hung = connections.filter(
      ({ inFlight, transaction, headSince }) =>
        inFlight.size > 0 && transaction?.isIdle !== true && now - headSince > hangTimeoutMs,
    );
    if (hung.length > 0) {
      for (const { inFlight } of hung) abandon(inFlight);
      outages.begin(true);
    }
    if (outages.isLong(now)) for (const waiter of waiters.splice(0)) waiter.reject(new TimedOut("the database"));
  }, WATCH_INTERVAL_MS);
  watch.unref();

  /** The first is running. Others keep their places until the server has run them, but nobody waits for them any more. */
  function rejectLate({ isOpen, inFlight: [, ...behind] }: Connection, now: number): void {
    // Before that, the driver's timeout for connecting says that nothing was sent.
    if (!isOpen) return;
    for (const { since, reject } of behind) {
      if (now - since > limits.queueTimeoutMs) reject(new TimedOut("a connection"));
    }
  }

  /** What is in flight on a hung connection fails now; what is on the others may finish. */
  function abandon(inFlight: Connection["inFlight"]): void {
    for (const { reject } of inFlight) reject(new TimedOut("a response"));
    inUse -= inFlight.size;
    inFlight.clear();
  }

  async function verify(): Promise<void> {
    if (!connections.some(({ isOpen }) => isOpen)) {
      outages.begin(false);
    } else if (!isVerifying) {
      isVerifying = true;
      await server.search();
      isVerifying = false;
      admitAll();
    }
  }

  // Others may have begun the search. What the server before says does not count any more.
  server.onFound((hasMoved) => {
    if (hasMoved && !outages.isOn() && !isClosed) replaceConnections(0);
  });

  function replaceConnections(closeTimeoutMs: number): void {
    const old = connections;
    connections = newConnections();
    for (const { sql } of old) void closeConnection(sql, closeTimeoutMs);
  }

  const isUsable = ({ isOpen }: Connection) => isOpen || !isVerifying;

  // After connections were replaced, what may still finish on the old ones counts too.
  function room(): number {
    const max = isVerifying ? connections.filter(isUsable).length * depth : inFlightMax;
    return max - inUse - admitted;
  }

  const mustWait = () => outages.isOn() || waiters.length > 0 || room() <= 0;

  /** The connection with the least to do. One without a slow statement comes first, and then one that is open. */
  function leastBusy(now: number): Connection {
    const load = ({ isOpen, inFlight, headSince }: Connection) =>
      inFlight.size + (inFlight.size > 0 && now - headSince > SLOW_MS ? depth : 0) + (isOpen ? 0 : 0.5);
    let best: Connection | undefined;
    for (const connection of connections) {
      const hasRoom = connection.inFlight.size < depth && isUsable(connection);
      if (hasRoom && (best === undefined || load(connection) < load(best))) best = connection;
    }
    if (best === undefined) throw new TimedOut("a connection");
    return best;
  }

  /** Waits for a connection with room, and uses it at once. */
  async function withConnection<Result>(
    use: (connection: Connection, since: number, now: number) => Promise<Result>,
  ): Promise<Result> {
    let since = performance.now();
    let now = since;
    if (mustWait()) {
      since = await admission(since);
      admitted--;
      now = performance.now();
    }
    return await use(leastBusy(now), since, now);
  }

  const run: BoundedPool["run"] = (text, parameters) =>
    withConnection((connection, since, now) =>
      occupy(connection, since, now, () => connection.sql.unsafe(text, parameters as unknown[])),
    );

  const transaction: BoundedPool["transaction"] = (work) =>
    withConnection((connection, since, now) => {
      const state = { isIdle: false };
      connection.transaction = state;
      const busy = (isBusy: boolean) => {
        state.isIdle = !isBusy;
        connection.headSince = performance.now();
      };
      return occupy(connection, since, now, () =>
        connection.sql.begin(async (driver: TransactionSQL) => {
          busy(false);
          const result = await work(async (text, parameters) => {
            busy(true);
            try {
              return (await driver.unsafe(text, parameters as unknown[])) as unknown[];
            } finally {
              busy(false);
            }
          });
          // The commit is in flight from here on.
          busy(true);
          return result;
        }),
      );
    });

  /** Sends a statement or a transaction. Rejects before the driver does when it takes too long. */
  function occupy<Result>(
    connection: Connection,
    since: number,
    now: number,
    send: () => PromiseLike<unknown>,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const entry = { since, reject, mayBeSent: connection.isOpen };
      if (connection.inFlight.size === 0) connection.headSince = now;
      connection.inFlight.add(entry);
      inUse++;
      const finish = () => {
        // Otherwise it was rejected as hung, and is not counted any more.
        if (!connection.inFlight.delete(entry)) return;
        connection.transaction = undefined;
        connection.headSince = performance.now();
        inUse--;
        // Not simply the next one: the connection may be lost, and its place with it.
        admitAll();
      };
      send().then(
        (result) => {
          outages.succeeded();
          succeededAt = performance.now();
          resolve(result as Result);
          finish();
        },
        (error: unknown) => {
          reject(entry.mayBeSent ? (error as Error) : notSent(error));
          finish();
        },
      );
    });
  }

  /**
   * Resolves when a statement may be sent, to when its time to wait for a connection began: at the end of an outage, or at
   * `since`. Whoever sends it ends its being admitted in the same moment.
   */
  async function admission(since: number): Promise<number> {
    const isCrowded = outages.isOn() && waiters.length >= WAITERS_MAX;
    if (isClosed || outages.isLong(since) || isCrowded) throw new TimedOut("the database");
    const waiter: Waiter = { since, proceed() {}, reject() {} };
    const turn = () =>
      new Promise<void>((proceed, reject) => {
        Object.assign(waiter, { proceed, reject });
      });
    try {
      waiters.push(waiter);
      await turn();
      // A connection may have been lost since it was admitted. It keeps its place.
      while (outages.isOn() || room() < 0) {
        admitted--;
        waiters.unshift(waiter);
        await turn();
      }
      return waiter.since;
    } finally {
      onWait(performance.now() - since);
    }
  }

  function admitAll(): void {
    while (!outages.isOn() && room() > 0) {
      const waiter = waiters.shift();
      if (waiter === undefined) return;
      admitted++;
      waiter.proceed();
    }
  }

  return {
    run,
    transaction,
    recover: () => outages.begin(true),
    verify: () => void verify(),
    isOut: outages.isOn,
    succeededAt: () => succeededAt,
    stopWaiting: outages.stopWaiting,
    state: () => ({ inUse, max: inFlightMax, waiting: waiters.length }),
    async close(timeoutMs) {
      if (isClosed) return;
      isClosed = true;
      outages.stop();
      clearInterval(watch);
      for (const waiter of waiters.splice(0)) waiter.reject(new TimedOut("the database"));
      // The driver's promise may stay pending when a connection hangs; the bound is kept here.
      const ends = connections.map(({ sql }) => closeConnection(sql, timeoutMs));
      await Promise.race([Promise.all(ends), Bun.sleep(timeoutMs + 1_000)]);
    },
  };
}
