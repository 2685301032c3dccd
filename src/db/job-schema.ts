import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { openPgPool } from "./pg-pool.ts";

/** The schema of the job queue, which graphile-worker installs and migrates itself. */
export const JOB_SCHEMA = "graphile_worker";

/**
 * Brings the schema of the job queue up to date. The caller holds the lock for migrations.
 * @throws StartupError if the user may not create it, or if a newer graphile-worker has changed it
 */
export async function migrateJobSchema(address: DatabaseAddress, connectTimeoutMs: number): Promise<void> {
  const { Logger, runMigrations } = await import("graphile-worker");
  const pool = await openPgPool(address, {
    max: 1,
    applicationName: "conduit",
    connectTimeoutMs,
    statementTimeoutMs: 0,
    onError: () => {},
  });
  try {
    await runMigrations({ pgPool: pool, schema: JOB_SCHEMA, logger: new Logger(() => () => {}) });
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    // PostgreSQL: insufficient_privilege.
    if (code === "42501") {
      throw new StartupError(
        `The database user "${address.username}" may not create the schema ${JOB_SCHEMA}, which background jobs need. Run as an administrator: grant create on database "${address.database}" to "${address.username}"`,
        { cause: error },
      );
    }
    throw new StartupError(`The schema ${JOB_SCHEMA} could not be brought up to date: ${message}`, { cause: error });
  } finally {
    await pool.end();
  }
}
