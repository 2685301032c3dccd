import { SQL } from "bun";
import { type DatabaseAddress, type DatabaseHost, locationOf, serversOf } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { sqlState } from "./errors.ts";
import { connectionOptions } from "./pool.ts";
import { read } from "./statements.ts";

/** The oldest PostgreSQL that the statements and the schema are written for. */
export const OLDEST_MAJOR = 15;

/** How often to look again while no server is ready. */
const POLL_MS = 250;

export type ReachOptions = {
  readonly connectTimeoutMs: number;
  /** How long to wait for a server that starts, or for a standby to become writable. */
  readonly timeoutMs: number;
  /** Whether a server that takes no writes is of no use, whatever the address says. */
  readonly mustWrite: boolean;
  readonly onProgress: (message: string) => void;
};

/**
 * Chooses one of the servers of an address, as libpq does: the first that responds, or with `target_session_attrs` the first
 * that takes writes. Waits where one is starting or read-only, as during a failover.
 * @returns the address with that server first
 * @throws StartupError if there is none, it is too old, or its database is not UTF-8
 */
export async function findServer(address: DatabaseAddress, options: ReachOptions): Promise<DatabaseAddress> {
  const candidates = serversOf(address);
  const needsWrites = options.mustWrite || address.target === "primary";
  const deadline = performance.now() + options.timeoutMs;
  for (let isReported = false; ; ) {
    let canWait = false;
    let problem = "";
    for (const candidate of candidates) {
      try {
        const state = await readServer(candidate, options.connectTimeoutMs);
        requireSuitable(candidate, state);
        if (!needsWrites || !state.isReadOnly) {
          const others = candidates.filter((other) => other !== candidate);
          return others.length === 0 ? candidate : { ...candidate, otherHosts: others.map(hostOf) };
        }
        canWait = true;
        problem ||= `The database "${candidate.database}" at ${locationOf(candidate)} takes no writes: ${state.isStandby ? "it is a standby" : "default_transaction_read_only is on"}`;
        if (address.target !== "primary") break;
      } catch (error) {
        if (error instanceof StartupError) throw error;
        // PostgreSQL: cannot_connect_now, as it starts or stops.
        canWait ||= sqlState(error) === "57P03";
        problem ||= connectionProblem(error, candidate);
      }
    }
    if (!canWait) throw new StartupError(`${problem}.`);
    const seconds = Math.round(options.timeoutMs / 1000);
    if (performance.now() >= deadline)
      throw new StartupError(`${problem}. Waited ${seconds} s (DATABASE_START_TIMEOUT).`);
    if (!isReported) options.onProgress(`${problem}. Waiting at most ${seconds} s …`);
    isReported = true;
    await Bun.sleep(POLL_MS);
  }
}

function hostOf({ hostname, port, socketPath }: DatabaseAddress): DatabaseHost {
  return { hostname, port, ...(socketPath === undefined ? {} : { socketPath }) };
}

type Server = {
  major: number;
  version: string;
  encoding: string;
  isReadOnly: boolean;
  isStandby: boolean;
  lockTimeoutMs: number;
};

/** An unusual value, which shows whether the session keeps its settings. */
const LOCK_TIMEOUT_MS = 9_871;

async function readServer(address: DatabaseAddress, connectTimeoutMs: number): Promise<Server> {
  return await withConnection(address, connectTimeoutMs, { lock_timeout: `${LOCK_TIMEOUT_MS}` }, async (sql) => {
    const [server] = (await sql.unsafe(SERVER.text)) as Server[];
    if (server === undefined) throw new Error("no response");
    if (address.direct === undefined && server.lockTimeoutMs !== LOCK_TIMEOUT_MS) {
      throw new StartupError(`${pooler(address, "it ignored lock_timeout")}.`);
    }
    return server;
  });
}

const SERVER = read<Server>(
  "server",
  `select current_setting('server_version_num')::integer / 10000 as major, current_setting('server_version') as version,
          current_setting('server_encoding') as encoding,
          current_setting('transaction_read_only')::boolean as "isReadOnly", pg_is_in_recovery() as "isStandby",
          (select setting::integer from pg_settings where name = 'lock_timeout') as "lockTimeoutMs"`,
);

/** @throws StartupError if this program cannot work with the server */
export function requireSuitable(
  { database }: DatabaseAddress,
  { major, version, encoding }: Pick<Server, "major" | "version" | "encoding">,
): void {
  if (major < OLDEST_MAJOR) {
    throw new StartupError(`The database is PostgreSQL ${version}; Conduit needs ${OLDEST_MAJOR} or newer.`);
  }
  if (encoding !== "UTF8") {
    throw new StartupError(
      `The database "${database}" has the encoding ${encoding}, which cannot store every text; Conduit needs UTF8. Create another: create database conduit encoding 'UTF8' template template0`,
    );
  }
}

/** Opens one connection, and closes it at the end. */
export async function withConnection<Result>(
  address: DatabaseAddress,
  connectTimeoutMs: number,
  session: Record<string, string>,
  use: (sql: SQL) => Promise<Result>,
): Promise<Result> {
  const options = connectionOptions(address, 1, session);
  const sql = new SQL({ ...options, connectionTimeout: connectTimeoutMs / 1000 } as SQL.Options);
  try {
    return await use(sql);
  } finally {
    await sql.close({ timeout: 0 }).catch(() => {});
  }
}

const POOLED = 'See "Behind a connection pooler" in docs/operations/deploy.md';

/** Why a connection failed, and what to do about it, in one line without a password. */
export function connectionProblem(error: unknown, address: DatabaseAddress): string {
  const message = oneLine(error);
  const [, parameter] = /unsupported startup parameter(?: in options)?: (\w+)/.exec(message) ?? [];
  const where = locationOf(address);
  if (parameter === undefined) {
    return `Cannot reach the database "${address.database}" at ${where} as user "${address.username}": ${message}. Check DATABASE_URL, and that PostgreSQL is running and accepts connections from this machine`;
  }
  if (address.direct === undefined) {
    return pooler(address, `it refuses ${parameter}`);
  }
  if (parameter === "options") return oldPooler(address);
  return `The connection pooler at ${where} refuses the parameter ${parameter} of DATABASE_URL. Remove it. ${POOLED}`;
}

const pooler = (address: DatabaseAddress, sign: string): string =>
  `${locationOf(address)} is a connection pooler, which keeps no settings of a session (${sign}). Set DATABASE_DIRECT_URL to PostgreSQL itself. ${POOLED}`;

const oldPooler = (address: DatabaseAddress): string =>
  `The connection pooler at ${locationOf(address)} does not support prepared statements. Use PgBouncer 1.21 or newer with max_prepared_statements = 200. ${POOLED}`;

function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, " ").replace(/\.$/, "");
}

/**
 * Checks that a transaction pooler keeps what requests rely on: prepared statements, and a limit on their time, which the
 * session cannot set.
 * @returns warnings, each a sentence or two
 * @throws StartupError if the pooler cannot be reached or does not support prepared statements
 */
export async function checkPooler(
  address: DatabaseAddress,
  { connectTimeoutMs, statementTimeoutMs }: { connectTimeoutMs: number; statementTimeoutMs: number },
): Promise<string[]> {
  try {
    await requirePreparedStatements(address, connectTimeoutMs);
    return await withConnection(address, connectTimeoutMs, {}, async (sql) => {
      const [row] = (await sql.unsafe(STATEMENT_TIMEOUT.text)) as { ms: number }[];
      const ms = row?.ms ?? 0;
      return ms > 0 && ms <= statementTimeoutMs ? [] : [unlimited(address, ms, statementTimeoutMs)];
    });
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`${connectionProblem(error, address)}.`, { cause: error });
  }
}

const STATEMENT_TIMEOUT = read<{ ms: number }>(
  "statement_timeout",
  "select setting::integer as ms from pg_settings where name = 'statement_timeout'",
);

function unlimited({ username, database }: DatabaseAddress, ms: number, maxMs: number): string {
  const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
  return `Behind the connection pooler, statements may run ${ms === 0 ? "without a limit" : `for ${ms} ms`}, which looks like an outage after ${maxMs} ms. Run: alter role ${quoted(username)} in database ${quoted(database)} set statement_timeout = '${maxMs}ms'`;
}

/**
 * A pooler does not report its version to clients. But one without support for prepared statements fails as soon as a
 * statement runs on another connection than the one it was prepared on, or is prepared twice on one. While a transaction
 * holds one connection, the other client gets another.
 */
async function requirePreparedStatements(address: DatabaseAddress, connectTimeoutMs: number): Promise<void> {
  const text = "select $1::integer as one";
  try {
    await withConnection(address, connectTimeoutMs, {}, async (a) => {
      await a.unsafe(text, [1]);
      await withConnection(address, connectTimeoutMs, {}, (b) =>
        b.begin(async (transaction) => {
          await transaction.unsafe(text, [1]);
          // A pool of one connection has no other, and the statement waits.
          await Promise.race([a.unsafe(text, [1]), Bun.sleep(connectTimeoutMs)]);
        }),
      );
    });
  } catch (error) {
    // PostgreSQL: invalid_sql_statement_name, duplicate_prepared_statement.
    if (!["26000", "42P05"].includes(sqlState(error) ?? "")) throw error;
    throw new StartupError(`${oldPooler(address)}.`, { cause: error });
  }
}
