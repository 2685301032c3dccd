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
 * Prints the server's messages at startup and shutdown: plain text in a terminal, and log lines if the log is JSON, so that
 * all of standard output is JSON. `LOG_LEVEL` has no effect on them.
 */
export function startupOutput(config: Config): (message: string) => void {
  if (logFormat(config) === "pretty") return (message) => console.log(message);
  const log = createLog("info");
  return (message) => {
    log.info({}, message);
    log.flush();
  };
}

/** The addresses of a server, as links. The last line reports that it is running. */
export async function startupLines(config: Config, server: RunningServer): Promise<string[]> {
  const url = clickable(server.url);
  // Passwords are never logged, not even public ones.
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

/** A server on all addresses is on localhost too. Browsers cannot open 0.0.0.0 and [::]. */
export function clickable(url: string): string {
  return url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/]|$)/, "//localhost");
}

const DEMO_EMAIL = emailOf(DEMO_USERNAME);

/** Whether the database has the user of the demonstration content; false if the database does not respond. */
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
