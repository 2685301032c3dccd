import type { Pool } from "pg";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { firstServer } from "./followed-server.ts";
import { openPgPool } from "./pg-pool.ts";

/** The schema of the job queue, which graphile-worker installs and migrates itself. */
export const JOB_SCHEMA = "graphile_worker";

/**
 * Brings the schema of the job queue up to date. The caller holds the lock for migrations.
 * @param lockTimeoutMs how long to wait for a lock at a time
 * @throws StartupError if the user may not create it, or if a newer graphile-worker has changed it; the driver's error
 *   55P03 if a lock was not available
 */
export async function migrateJobSchema(
  address: DatabaseAddress,
  connectTimeoutMs: number,
  lockTimeoutMs: number,
): Promise<void> {
  const { Logger, runMigrations } = await import("graphile-worker");
  const pool = await openPgPool(firstServer(address), {
    max: 1,
    applicationName: "conduit migrate",
    connectTimeoutMs,
    statementTimeoutMs: 0,
    lockTimeoutMs,
    onError: () => {},
  });
  try {
    await runMigrations({ pgPool: pool, schema: JOB_SCHEMA, logger: new Logger(() => () => {}) });
    await indexDeadJobs(pool);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    // PostgreSQL: lock_not_available, after which the caller tries again.
    if (code === "55P03") throw error;
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

/**
 * For the clean-up, which would otherwise read the whole queue for each batch. Named as ours, in a table of the library's.
 * Looks first, as `create index if not exists` locks the table even where the index exists.
 */
async function indexDeadJobs(pool: Pool): Promise<void> {
  const { rows } = await pool.query(`select to_regclass('${JOB_SCHEMA}.conduit_dead_jobs_idx') is not null as exists`);
  if (rows[0]?.exists) return;
  await pool.query(
    `create index if not exists conduit_dead_jobs_idx on ${JOB_SCHEMA}._private_jobs (run_at)
      where locked_at is null and attempts >= max_attempts`,
  );
}
