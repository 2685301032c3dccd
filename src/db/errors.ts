import { SQL } from "bun";
import { DatabaseError } from "pg";
import { ApiError } from "../http/errors.ts";
import { TimedOut } from "./bounded-pool.ts";

/** PostgreSQL's code of an error, such as 23505; undefined where the error is not from the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError ? error.errno : undefined;
}

/** The name of the constraint that a statement violated; undefined for any other error. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError && error.errno?.startsWith("23") ? error.constraint : undefined;
}

/**
 * PostgreSQL rolled the transaction back, or never began it, and it may succeed when it runs again at once: serialization
 * failures and deadlocks (PostgreSQL 13.5), a lock timeout, and the time limits of idle sessions and of transactions.
 * Writers take their locks in one order (migrations/README.md), so a deadlock is for what that order cannot cover, such as
 * the deletion of an account, whose articles go with it.
 */
export function isRolledBack(error: unknown): boolean {
  return ["40001", "40P01", "55P03", "57P05", "25P04"].includes(sqlState(error) ?? "");
}

/**
 * What to print where a database's error ends a command: one line, without a stack trace. Undefined for errors that are not
 * from a database.
 */
export function databaseMessage(error: unknown): string | undefined {
  const isUnavailableNow = error instanceof ApiError && error.code === "unavailable";
  const cause = isUnavailableNow ? (error.cause ?? error) : error;
  if (!(isUnavailableNow || cause instanceof SQL.PostgresError || cause instanceof DatabaseError)) return undefined;
  const { message, errno, code } = cause as Error & { errno?: string; code?: string };
  return `The database reported a problem: ${message.replace(/\s*\n\s*/g, " ")} (${errno ?? code ?? "no code"}).`;
}

/**
 * The connection could not be established, so the statement was not sent: refused, closed or without a response before the
 * session began; the server is starting or stopping (57P03, cannot_connect_now); or a pooler has no connection to it.
 */
export function wasNotSent(error: unknown): boolean {
  if (!(error instanceof SQL.PostgresError)) return false;
  if (error.errno === undefined) return /_CONNECTION_(REFUSED|FAILED|TIMEOUT)$/.test(error.code);
  return error.errno === "57P03" || (error.errno === "08P01" && NOT_PASSED_ON.test(error.message));
}

/**
 * What PgBouncer says to a client that it has no connection for, and closes the client's: its server refuses connections
 * (check_fast_fail in objects.c), or none became free in time (janitor.c). A transaction keeps its connection, so neither happens
 * within one, and nothing of the statement was passed on.
 */
const NOT_PASSED_ON = /^(server login has been failing|query_wait_timeout$)/;

/** The server takes no writes, so the statement and its transaction changed nothing. */
export const isReadOnlyServer = (error: unknown): boolean => sqlState(error) === "25006";

/** The connection closed while the statement was running, here or behind PgBouncer. Whether it took effect is unknown. */
export function isConnectionLost(error: unknown): boolean {
  if (sqlState(error) === "08P01") return LOST_BEHIND.test((error as Error).message);
  return sqlState(error) === "57P01" || isClosedConnection(error);
}

/** What PgBouncer says then (server.c, client.c). */
const LOST_BEHIND = /^server conn(ection closed| crashed\?)$/;

function isClosedConnection(error: unknown): boolean {
  return error instanceof SQL.PostgresError && error.code === "ERR_POSTGRES_CONNECTION_CLOSED";
}

/** The database is unreachable or overloaded: the statement itself is not wrong. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof TimedOut) return true;
  if (!(error instanceof SQL.PostgresError)) return false;
  if (error.errno === undefined) return /CONNECTION|TIMEOUT|CLOSED|CANCELLED|TLS|AUTH/.test(error.code);
  // Retried as often as it is worth; the client may try again later.
  if (isRolledBack(error)) return true;
  // Connection exceptions; disk, memory or connections used up; cancelled by timeout; shutting down or starting up;
  // read-only standby; ended while idle in a transaction; input or output error. A new connection is refused: password or
  // role, no such database, a database that accepts none (PostgreSQL, appendix A).
  return /^(08|53|57014$|57P0|25006$|25P03$|58030$|28|3D000$|55000$)/.test(error.errno);
}
