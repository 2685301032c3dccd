import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { connectionOptions } from "../db/pool.ts";
import { read } from "../db/statements.ts";
import { createLog } from "../observability/log.ts";
import { emailOf } from "../seed/demonstration.ts";
import { DEMO_USERNAME } from "../seed/people.ts";
import { SEED_PASSWORD } from "../seed/seed.ts";
import { logFormat, type RunningServer } from "./server.ts";

/**
 * Prints what the server says at startup and at its end: plain text in a terminal, and lines of the log where that is
 * JSON, so that standard output is JSON throughout. `LOG_LEVEL` has no effect on it.
 */
export function startupOutput(config: Config): (message: string) => void {
  if (logFormat(config) === "pretty") return (message) => console.log(message);
  const log = createLog("info");
  return (message) => {
    log.info({}, message);
    log.flush();
  };
}

/** The addresses of a server, to click on. The last one says that it is running. */
export async function startupLines(config: Config, server: RunningServer): Promise<string[]> {
  const url = clickable(server.url);
  // No password goes into a log, not even a public one.
  const isForPeople = logFormat(config) === "pretty" && !config.production;
  return [
    `API reference: ${url}/docs`,
    ...(server.mailboxPath === undefined ? [] : [`Development mailbox: ${url}${server.mailboxPath}`]),
    ...(server.metricsUrl === undefined ? [] : [`Metrics are on ${clickable(server.metricsUrl)}/metrics`]),
    ...(isForPeople && (await hasDemoLogin(server.database))
      ? [`Demo login: ${DEMO_EMAIL}, password ${JSON.stringify(SEED_PASSWORD)}`]
      : []),
    `Server is running on ${url}`,
  ];
}

/** A server on all addresses is on localhost too; 0.0.0.0 and [::] are no addresses to go to. */
export function clickable(url: string): string {
  return url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/]|$)/, "//localhost");
}

const DEMO_EMAIL = emailOf(DEMO_USERNAME);

/** Whether the database has the account of the demonstration content; false if that cannot be found out. */
async function hasDemoLogin(address: DatabaseAddress): Promise<boolean> {
  const sql = new SQL({ ...connectionOptions(address, 1, { statement_timeout: "1000" }), connectionTimeout: 1 });
  try {
    const [row] = (await sql.unsafe(HAS_USER.text, [DEMO_EMAIL])) as { found: boolean }[];
    return row?.found === true;
  } catch {
    return false;
  } finally {
    await sql.close({ timeout: 0 }).catch(() => {});
  }
}

const HAS_USER = read<{ found: boolean }>(
  "startup_has_user",
  "select exists (select from users where email_key = $1) as found",
);
