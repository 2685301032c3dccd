import { StartupError } from "../../config/startup-error.ts";
import { sqlState } from "../errors.ts";

/** How long to wait for a lock. Only a migration holds one that is in the way. */
export const LOCK_TIMEOUT_MS = 30_000;

/** How values are written and read, whatever the server's own settings are; and the limits of the session. */
export const sessionSettings = (lockTimeoutMs: number) => ({
  datestyle: "ISO, YMD",
  intervalstyle: "postgres",
  extra_float_digits: "1",
  bytea_output: "hex",
  lock_timeout: String(lockTimeoutMs),
  // The disk with the file may be slow. But locks must not outlive a network that is gone.
  idle_in_transaction_session_timeout: "5min",
});

/** What to report instead of an error, if it is about a lock. */
export function lockProblem(error: unknown): unknown {
  // PostgreSQL: lock_not_available.
  if (sqlState(error) !== "55P03") return error;
  return new StartupError("Another transaction has locked a table for too long. Try again later.", { cause: error });
}
