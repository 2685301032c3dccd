import { SQL } from "bun";

export type PoolLimits = {
  /** Connections for writes; reads, which are pipelined, have a quarter as many, two at least. */
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** How long a statement may wait for a connection. */
  readonly queueTimeoutMs: number;
  /** How long a statement may run. */
  readonly statementTimeoutMs: number;
};

/** What goes on in a lane at this moment. */
export type LaneState = {
  /** Statements sent, whose answer is not here yet. */
  readonly inUse: number;
  /** How many statements may be under way at a time. */
  readonly max: number;
  /** Statements that wait for their turn. */
  readonly waiting: number;
};

export type Lane = {
  /**
   * Runs a statement.
   * @throws WaitedTooLong, within `queueTimeoutMs` where there was no turn, and where there was one but no answer, within
   *   `statementTimeoutMs + connectTimeoutMs`; otherwise the driver's error
   */
  run(text: string, parameters: unknown[]): Promise<unknown[]>;
  state(): LaneState;
  /** Waits for what is running, at most `timeoutMs`, and closes every connection. */
  close(timeoutMs: number): Promise<void>;
};

export class WaitedTooLong extends Error {
  override name = "WaitedTooLong";
  constructor(what: string) {
    super(`waited too long for ${what}`);
  }
}

type UnderWay = { readonly since: number; readonly pool: SQL; readonly reject: (error: Error) => void };
type Turn = { readonly since: number; readonly take: () => void; readonly refuse: (error: Error) => void };

const WATCH_EVERY_MS = 100;
/** A search for a database that hangs asks anew this often, as what was sent before its return may be lost. */
const ASK_EVERY_MS = 500;
/** At most so many unanswered questions of a search. */
const ASKED_MAX = 8;

/**
 * Connections with a bound on how many statements are under way on them, and on how long any of them is waited for.
 *
 * A connection that closes is the driver's matter: it makes a new one. One that hangs (a network that forgot it, a
 * server that stands still) tells nobody. It is known by a statement without an answer for longer than the server would
 * let it run; then the pool is given up, and a new one is searched for. Who comes meanwhile is refused at once.
 *
 * @param onWait is told how long a statement waited for its turn, in milliseconds, where it had to
 */
export function createLane(
  options: SQL.Options,
  limits: PoolLimits,
  underWayMax: number,
  onWait: (waitedMs: number) => void,
): Lane {
  let pool = new SQL(options);
  let search: { readonly since: number; askedAt: number; readonly asked: Set<SQL> } | undefined;
  let isClosed = false;
  const underWay = new Set<UnderWay>();
  const waiting: Turn[] = [];
  const hangsMs = limits.statementTimeoutMs + limits.connectTimeoutMs;

  // One timer for all, not one per statement: 5 µs less a request. Both are in the order of their beginning.
  const watch = setInterval(() => {
    const now = performance.now();
    while (waiting[0] !== undefined && now - waiting[0].since > limits.queueTimeoutMs) {
      waiting.shift()?.refuse(new WaitedTooLong("a connection"));
    }
    for (const entry of underWay) {
      if (now - entry.since <= hangsMs) break;
      underWay.delete(entry);
      entry.reject(new WaitedTooLong("an answer"));
      if (entry.pool === pool && search === undefined) {
        search = { since: now, askedAt: Number.NEGATIVE_INFINITY, asked: new Set() };
        end(pool, hangsMs);
      }
    }
    if (search === undefined) return;
    if (now - search.askedAt >= ASK_EVERY_MS && search.asked.size < ASKED_MAX) ask(search, now);
    if (isAway(now)) for (const turn of waiting.splice(0)) turn.refuse(new WaitedTooLong("the database"));
  }, WATCH_EVERY_MS);
  watch.unref();

  /** Opens another pool, which takes the place of the given-up one if it is the first to get an answer. */
  function ask(current: NonNullable<typeof search>, now: number): void {
    current.askedAt = now;
    const candidate = new SQL(options);
    current.asked.add(candidate);
    const giveUp = setTimeout(() => lose(candidate), limits.connectTimeoutMs);
    const lose = (loser: SQL) => {
      if (current.asked.delete(loser)) end(loser, 0);
    };
    candidate.unsafe("select 1").then(
      () => {
        clearTimeout(giveUp);
        if (search !== current || !current.asked.delete(candidate)) return end(candidate, 0);
        pool = candidate;
        search = undefined;
        for (const loser of current.asked) lose(loser);
        while (underWay.size < underWayMax && waiting.length > 0) next();
      },
      () => {
        clearTimeout(giveUp);
        lose(candidate);
      },
    );
  }

  /** A pool that had one bad connection is replaced at once, which is worth a moment's wait; a longer search is not. */
  const isAway = (now: number) => search !== undefined && now - search.since > ASK_EVERY_MS;

  function run(text: string, parameters: unknown[]): Promise<unknown[]> {
    const isBusy = underWay.size >= underWayMax || waiting.length > 0 || search !== undefined;
    return isBusy ? turn().then(() => send(text, parameters)) : send(text, parameters);
  }

  function send(text: string, parameters: unknown[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      const entry = { since: performance.now(), pool, reject };
      underWay.add(entry);
      pool.unsafe(text, parameters).then(
        (rows: unknown[]) => {
          resolve(rows);
          if (underWay.delete(entry)) next();
        },
        (error: unknown) => {
          reject(error);
          if (underWay.delete(entry)) next();
        },
      );
    });
  }

  async function turn(): Promise<void> {
    const since = performance.now();
    if (isAway(since)) throw new WaitedTooLong("the database");
    try {
      await new Promise<void>((take, refuse) => waiting.push({ take, refuse, since }));
    } finally {
      onWait(performance.now() - since);
    }
  }

  function next(): void {
    if (search === undefined) waiting.shift()?.take();
  }

  return {
    run,
    state: () => ({ inUse: underWay.size, max: underWayMax, waiting: waiting.length }),
    async close(timeoutMs) {
      if (isClosed) return;
      isClosed = true;
      clearInterval(watch);
      for (const candidate of search?.asked ?? []) end(candidate, 0);
      for (const turn of waiting.splice(0)) turn.refuse(new WaitedTooLong("the database"));
      // The driver's promise may stay open where a connection hangs; the bound is kept here.
      await Promise.race([end(pool, timeoutMs), Bun.sleep(timeoutMs + 1_000)]);
    },
  };
}

function end(pool: SQL, timeoutMs: number): Promise<void> {
  return pool.close({ timeout: timeoutMs / 1000 }).catch(() => {});
}
