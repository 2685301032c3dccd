import { SQL } from "bun";
import type { DatabaseAddress } from "./database-address.ts";
import { unavailable } from "./errors.ts";

/** What a statement takes. Arrays go as PostgreSQL array literals: see `textArray`. */
export type Parameter = string | number | boolean | null;

/** One SQL statement with the shape of its rows. Made once, at import, and so known to the check of the SQL. */
export type Statement<Row> = {
  /** For metrics, traces and error messages. */
  readonly name: string;
  readonly text: string;
  readonly kind: "read" | "write";
  /** Never set: carries the type of a row. */
  readonly row?: Row;
};

/** Every statement of the program, by name. `npm run check` prepares each against the migrated schema. */
export const statements = new Map<string, Statement<unknown>>();

/** A statement that changes nothing. */
export const read = <Row>(name: string, text: string): Statement<Row> => register({ name, text, kind: "read" });

/** A statement that changes something. One statement is one transaction. */
export const write = <Row>(name: string, text: string): Statement<Row> => register({ name, text, kind: "write" });

function register<Row>(statement: Statement<Row>): Statement<Row> {
  if (statements.has(statement.name)) throw new Error(`two statements are named ${statement.name}`);
  statements.set(statement.name, statement);
  return statement;
}

export type PoolLimits = {
  /** Connections for reads, and as many for writes. */
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** How long a statement may wait for a connection. */
  readonly queueTimeoutMs: number;
  /** How long a statement may run. */
  readonly statementTimeoutMs: number;
};

export type Database = {
  /** Runs a statement. Throws `ApiError` "unavailable" where the database is away, and the driver's error otherwise. */
  rows<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row[]>;
  /** The first row of a statement; undefined where there is none. */
  row<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row | undefined>;
  /** Resolves if the database answers. */
  ping(): Promise<void>;
  /** Waits for what is running, at most `timeoutMs`, and closes every connection. */
  close(timeoutMs: number): Promise<void>;
};

export function connectionOptions(
  address: DatabaseAddress,
  max: number,
  connection: Record<string, string>,
): SQL.Options {
  return {
    adapter: "postgres",
    hostname: address.hostname,
    port: address.port,
    username: address.username,
    password: address.password,
    database: address.database,
    ...(address.socketPath === undefined
      ? { tls: address.tlsCaFile === undefined ? address.tls : { ca: Bun.file(address.tlsCaFile) } }
      : { path: address.socketPath, tls: false }),
    max,
    connection: { application_name: "conduit", timezone: "UTC", ...connection },
  };
}

/**
 * A pool of connections with bounds on every wait.
 *
 * Reads and writes have connections of their own. Reads are pipelined: many travel on one connection, which doubles
 * the throughput of small ones (docs/performance.md). Writes are not, as one may wait for another's row lock, and
 * would hold up what comes behind it on the same connection.
 */
export function openDatabase(address: DatabaseAddress, limits: PoolLimits): Database {
  const options: SQL.Options = {
    ...connectionOptions(address, limits.poolMax, {
      statement_timeout: String(limits.statementTimeoutMs),
      // Compiling a statement to machine code costs more than any of ours takes.
      jit: "off",
      // Every statement is written for one plan, whatever its parameters: planned once a connection, never again.
      plan_cache_mode: "force_generic_plan",
    }),
    connectionTimeout: limits.connectTimeoutMs / 1000,
  };
  const reads = createLane(options, limits, limits.poolMax * 16);
  const writes = createLane(options, limits, limits.poolMax);

  async function rows<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row[]> {
    const lane = statement.kind === "read" ? reads : writes;
    for (let attempt = 1; ; attempt++) {
      try {
        return (await lane.run(statement.text, parameters)) as Row[];
      } catch (error) {
        // Rolled back whole, to be tried again (PostgreSQL 13.5, Serialization Failure Handling). Writers lock in one
        // order (migrations/0002_articles.sql), so this is for what that order cannot cover.
        const again = sqlState(error) === "40P01" || sqlState(error) === "40001";
        if (!again || attempt === 3) throw isAway(error) ? unavailable("database", 1, error) : error;
        await Bun.sleep(Math.random() * 20 * attempt);
      }
    }
  }

  return {
    rows,
    row: async (statement, parameters) => (await rows(statement, parameters))[0],
    ping: async () => void (await rows(PING, [])),
    close: async (timeoutMs) => void (await Promise.all([reads.close(timeoutMs), writes.close(timeoutMs)])),
  };
}

const PING = read<{ one: number }>("ping", "select 1 as one");

type Lane = {
  run(text: string, parameters: Parameter[]): Promise<unknown[]>;
  close(timeoutMs: number): Promise<void>;
};

type Turn = { take(): void; refuse(error: Error): void; readonly since: number };

/** Connections with a bound on how many statements are under way on them, and on how long any of them is waited for. */
function createLane(options: SQL.Options, limits: PoolLimits, underWayMax: number): Lane {
  let pool = new SQL(options);
  const underWay = new Set<{ readonly since: number; readonly pool: SQL; expire(error: Error): void }>();
  const waiting: Turn[] = [];

  // One timer for all, not one per statement: 5 µs less a request. Both are in the order of their beginning.
  const watch = setInterval(() => {
    const now = performance.now();
    while (waiting[0] !== undefined && now - waiting[0].since > limits.queueTimeoutMs) {
      waiting.shift()?.refuse(new WaitedTooLong("a connection"));
    }
    // The server ends a statement that runs too long. One that is not even ended hangs with its connection, which only
    // goes with its pool.
    const hangsMs = limits.statementTimeoutMs + limits.connectTimeoutMs;
    let hung = false;
    for (const entry of underWay) {
      if (now - entry.since <= hangsMs) break;
      hung ||= entry.pool === pool;
      entry.expire(new WaitedTooLong("an answer"));
    }
    if (hung) {
      const old = pool;
      pool = new SQL(options);
      old.close({ timeout: 0 }).catch(() => {});
    }
  }, 100);
  watch.unref();

  async function run(text: string, parameters: Parameter[]): Promise<unknown[]> {
    if (underWay.size >= underWayMax || waiting.length > 0) await turn();
    const { promise: expired, reject: expire } = Promise.withResolvers<never>();
    const entry = { since: performance.now(), pool, expire };
    underWay.add(entry);
    try {
      return await Promise.race([pool.unsafe(text, parameters), expired]);
    } finally {
      underWay.delete(entry);
      waiting.shift()?.take();
    }
  }

  function turn(): Promise<void> {
    return new Promise((take, refuse) => waiting.push({ take, refuse, since: performance.now() }));
  }

  return {
    run,
    async close(timeoutMs) {
      clearInterval(watch);
      await pool.close({ timeout: timeoutMs / 1000 });
    },
  };
}

class WaitedTooLong extends Error {
  override name = "WaitedTooLong";
  constructor(what: string) {
    super(`waited too long for ${what}`);
  }
}

/** PostgreSQL's code of an error, such as 23505; undefined where the error is not from the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError ? error.errno : undefined;
}

/** The name of the constraint that a statement ran into; undefined for any other error. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError && error.errno?.startsWith("23") ? error.constraint : undefined;
}

/** Whether an error says that the database is away or overloaded, not that the statement is wrong. */
function isAway(error: unknown): boolean {
  if (error instanceof WaitedTooLong) return true;
  if (!(error instanceof SQL.PostgresError)) return false;
  if (error.errno === undefined) return /CONNECTION|TIMEOUT|CLOSED|CANCELLED|TLS|AUTH/.test(error.code);
  // Connection exceptions, too many connections, cancelled by timeout, shutting down, starting up, read-only standby.
  return /^(08|53300$|57014$|57P0|25006$)/.test(error.errno);
}

/** A PostgreSQL array literal of texts. */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/[\\"]/g, "\\$&")}"`).join(",")}}`;
}
