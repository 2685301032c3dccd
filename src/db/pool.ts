import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { unavailable } from "../http/errors.ts";
import { createLane, type LaneState, type PoolLimits, WaitedTooLong } from "./lane.ts";

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

/** Told of statements and waits, for metrics. Called on the hot path: it must be cheap and must not throw. */
export type DatabaseObserver = {
  onStatement(statement: Statement<unknown>, durationMs: number, failed: boolean): void;
  onWait(lane: LaneName, waitedMs: number): void;
};

export type LaneName = "read" | "write";

export type Database = {
  /** Runs a statement. Throws `ApiError` "unavailable" where the database is away, and the driver's error otherwise. */
  rows<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row[]>;
  /** The first row of a statement; undefined where there is none. */
  row<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row | undefined>;
  /** Resolves if the database answers. */
  ping(): Promise<void>;
  state(): Record<LaneName, LaneState>;
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
    // Without a URL, Bun would read one from the environment. All else that it could hold is said below, but for the
    // TLS mode where a certificate is said too.
    url: `postgres://localhost?sslmode=${address.tls}`,
    hostname: address.hostname,
    port: address.port,
    username: address.username,
    password: address.password,
    database: address.database,
    ...(address.socketPath === undefined
      ? address.tlsCaFile === undefined
        ? { tls: address.tls }
        : { tls: { ca: Bun.file(address.tlsCaFile) } }
      : { path: address.socketPath, tls: false }),
    max,
    connection: {
      application_name: "conduit",
      timezone: "UTC",
      // Triggers and retries are written for it, whatever the database's own default is.
      default_transaction_isolation: "read committed",
      ...connection,
    },
  };
}

/**
 * A pool of connections with bounds on every wait.
 *
 * Reads and writes have connections of their own. Reads are pipelined: many travel on one connection, which doubles
 * the throughput of small ones (docs/performance.md). Writes are not, as one may wait for another's row lock, and
 * would hold up what comes behind it on the same connection.
 */
export function openDatabase(address: DatabaseAddress, limits: PoolLimits, observer?: DatabaseObserver): Database {
  const options = (max: number): SQL.Options => ({
    ...connectionOptions(address, max, {
      statement_timeout: String(limits.statementTimeoutMs),
      // Compiling a statement to machine code costs more than any of ours takes.
      jit: "off",
      // Every statement is written for one plan, whatever its parameters: planned once a connection, never again.
      plan_cache_mode: "force_generic_plan",
    }),
    connectionTimeout: limits.connectTimeoutMs / 1000,
  });
  // Pipelined, reads gain little from more connections but wake-ups (docs/decisions/0004-two-lanes.md). Two at least, so
  // that what comes behind a slow one has another way.
  const readMax = Math.max(2, Math.ceil(limits.poolMax / 4));
  const lanes = {
    read: createLane(options(readMax), limits, readMax * 64, (ms) => observer?.onWait("read", ms)),
    write: createLane(options(limits.poolMax), limits, limits.poolMax, (ms) => observer?.onWait("write", ms)),
  };

  async function rows<Row>(statement: Statement<Row>, parameters: Parameter[]): Promise<Row[]> {
    const started = performance.now();
    for (let attempt = 1; ; attempt++) {
      try {
        const found = (await lanes[statement.kind].run(statement.text, parameters)) as Row[];
        observer?.onStatement(statement, performance.now() - started, false);
        return found;
      } catch (error) {
        if (attempt < (isRolledBack(error) ? 5 : 3) && mayTryAgain(statement, error)) {
          await Bun.sleep(Math.random() * 20 * attempt);
          continue;
        }
        observer?.onStatement(statement, performance.now() - started, true);
        throw isAway(error) ? unavailable("database", 1, error) : error;
      }
    }
  }

  return {
    rows,
    row: async (statement, parameters) => (await rows(statement, parameters))[0],
    ping: async () => void (await rows(PING, [])),
    state: () => ({ read: lanes.read.state(), write: lanes.write.state() }),
    close: async (timeoutMs) => void (await Promise.all([lanes.read.close(timeoutMs), lanes.write.close(timeoutMs)])),
  };
}

function mayTryAgain(statement: Statement<unknown>, error: unknown): boolean {
  if (isRolledBack(error)) return true;
  // The connection went while it was under way: after a restart of the server every pooled one does. A read may be asked
  // again. A write may not: it may have been done.
  return statement.kind === "read" && (sqlState(error) === "57P01" || isClosedConnection(error));
}

/**
 * Rolled back whole, to be tried again (PostgreSQL 13.5, Serialization Failure Handling): a deadlock, a serialization
 * failure. Writers lock in one order (migrations/0002_articles.sql), so this is for what that order cannot cover, such
 * as the end of an account, whose articles go with it.
 */
function isRolledBack(error: unknown): boolean {
  const state = sqlState(error);
  return state === "40P01" || state === "40001";
}

function isClosedConnection(error: unknown): boolean {
  return error instanceof SQL.PostgresError && error.code === "ERR_POSTGRES_CONNECTION_CLOSED";
}

const PING = read<{ one: number }>("ping", "select 1 as one");

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
  // Tried as often as it is worth: the client may try on.
  if (isRolledBack(error)) return true;
  // Connection exceptions, too many connections, cancelled by timeout, shutting down, starting up, read-only standby.
  return /^(08|53300$|57014$|57P0|25006$)/.test(error.errno);
}

/** A PostgreSQL array literal of texts. */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/[\\"]/g, "\\$&")}"`).join(",")}}`;
}
