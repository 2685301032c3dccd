import type { SQL } from "bun";
import { type DatabaseAddress, directAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { sqlState } from "./errors.ts";
import { JOB_SCHEMA, migrateJobSchema } from "./job-schema.ts";
import { type WaitOptions, withMigrationLock } from "./migration-lock.ts";
import { connectionProblem, findServer, withConnection } from "./reach.ts";

/** One step of the schema: plain SQL, applied once, never changed afterwards. */
export type Migration = {
  /** Four digits, rising by one. */
  readonly version: string;
  /** As in `0001_users.sql`. */
  readonly file: string;
  readonly sql: string;
};

/** How long DDL may wait for a lock at a time, because everything else on the table waits behind it. */
const LOCK_TIMEOUT_MS = 2_000;
const LOCK_RETRY_MS = 500;

/**
 * Updates the schema: each missing migration in a transaction of its own, then the schema of the job queue, one
 * instance at a time.
 * @param options.timeoutMs how long to wait for a standby to become writable, for another server's migration, and for a
 *   lock on a table
 * @param options.onProgress gets one line for each reason to wait
 * @returns the files that were applied, in order
 * @throws StartupError where the database cannot be reached, is too old, not UTF-8, newer than this program, was migrated
 *   by another history, or kept this program waiting for too long
 */
export async function migrate(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  connectTimeoutMs: number,
  options: Partial<WaitOptions> = {},
): Promise<string[]> {
  const wait: WaitOptions = { timeoutMs: 60_000, onProgress: () => {}, ...options, connectTimeoutMs };
  const server = await findServer(directAddress(address), { ...wait, mustWrite: true });
  try {
    return await withMigrationLock(server, wait, async () => {
      const session = {
        application_name: "conduit migrate",
        statement_timeout: "0",
        lock_timeout: `${LOCK_TIMEOUT_MS}`,
      };
      const files = await withConnection(server, connectTimeoutMs, session, (sql) =>
        applyMissing(sql, server, migrations, wait),
      );
      await withLockRetries(`The schema ${JOB_SCHEMA}`, wait, () =>
        migrateJobSchema(server, connectTimeoutMs, LOCK_TIMEOUT_MS),
      );
      return files;
    });
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`${connectionProblem(error, server)}.`, { cause: error });
  }
}

async function applyMissing(
  sql: SQL,
  address: DatabaseAddress,
  migrations: readonly Migration[],
  wait: WaitOptions,
): Promise<string[]> {
  const missing = await readMissing(sql, address, migrations);
  for (const migration of missing) {
    await withLockRetries(`Migration ${migration.file}`, wait, () => sql.begin((tx) => apply(tx, migration)));
  }
  return missing.map(({ file }) => file);
}

/**
 * Applies the missing migrations in a transaction of the caller, who holds the lock for migrations: for a restore, which
 * takes effect as a whole. Throws as `migrate`.
 */
export async function migrateIn(
  tx: Bun.SQL,
  address: DatabaseAddress,
  migrations: readonly Migration[],
): Promise<void> {
  for (const migration of await readMissing(tx, address, migrations)) await apply(tx, migration);
}

async function readMissing(
  sql: SQL,
  address: DatabaseAddress,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const applied = await readHistory(sql, address);
  for (const [i, done] of applied.entries()) {
    const known = migrations[i];
    if (known === undefined) {
      throw new StartupError(
        `The database has migration ${done.file}, which this version of Conduit does not know: it is newer. Start that newer version, or restore a backup from before.`,
      );
    }
    if (known.version !== done.version || checksum(known) !== done.checksum) {
      throw new StartupError(
        `Migration ${known.file} is not what was applied to this database (${done.file}): applied migrations must not be changed or removed. Put the file back as it was, and change the schema by a new one.`,
      );
    }
  }
  return migrations.slice(applied.length);
}

/** What was applied, in order. Creates the table, unless it exists: then the user need not be allowed to. */
async function readHistory(sql: SQL, address: DatabaseAddress) {
  const [found] = (await sql.unsafe("select to_regclass('schema_migrations') is not null as exists")) as {
    exists: boolean;
  }[];
  if (!found?.exists) await createHistory(sql, address);
  return (await sql.unsafe("select version, file, checksum from schema_migrations order by version")) as {
    version: string;
    file: string;
    checksum: string;
  }[];
}

async function createHistory(sql: SQL, { username, database }: DatabaseAddress): Promise<void> {
  try {
    await sql.unsafe(
      `create table schema_migrations (
         version    text primary key,
         file       text not null,
         checksum   text not null,
         applied_at timestamptz not null default now())`,
    );
  } catch (error) {
    // PostgreSQL: insufficient_privilege, and invalid_schema_name where no schema of the search path exists.
    if (!["42501", "3F000"].includes(sqlState(error) ?? "")) throw error;
    throw new StartupError(
      `The database user "${username}" may not create tables in the database "${database}" (${(error as Error).message}). Run there as an administrator: grant create on schema public to "${username}"`,
      { cause: error },
    );
  }
}

async function apply(tx: Bun.SQL, migration: Migration): Promise<void> {
  try {
    await tx.unsafe(textOf(migration)).simple();
    await tx.unsafe("insert into schema_migrations (version, file, checksum) values ($1, $2, $3)", [
      migration.version,
      migration.file,
      checksum(migration),
    ]);
  } catch (error) {
    if (isLockTimeout(error)) throw error;
    throw new StartupError(`Migration ${migration.file} failed and was rolled back: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Tries again until a transaction of others leaves the table. Giving way in between lets their statements pass.
 * @param what begins the sentences of the messages
 */
async function withLockRetries<Result>(
  what: string,
  { timeoutMs, onProgress }: WaitOptions,
  run: () => Promise<Result>,
): Promise<Result> {
  const deadline = performance.now() + timeoutMs;
  for (let isReported = false; ; ) {
    try {
      return await run();
    } catch (error) {
      if (!isLockTimeout(error)) throw error;
      const problem = `${what} waits for a lock on a table that another transaction uses`;
      if (performance.now() >= deadline) {
        throw new StartupError(
          `${problem}, for more than ${Math.round(timeoutMs / 1000)} s (DATABASE_START_TIMEOUT). Nothing of it was applied. Look for long transactions: select * from pg_stat_activity order by xact_start`,
          { cause: error },
        );
      }
      if (!isReported) onProgress(`${problem}. Trying again …`);
      isReported = true;
      await Bun.sleep(LOCK_RETRY_MS);
    }
  }
}

/** PostgreSQL: lock_not_available, deadlock_detected. Of either driver. */
function isLockTimeout(error: unknown): boolean {
  const { code, errno } = error as Error & { code?: string; errno?: string };
  return ["55P03", "40P01"].some((state) => state === code || state === errno);
}

/**
 * The files of migrations that this program knows and the database does not have, or has in another form. Those that a
 * newer program has added are none of its business: during an upgrade both run.
 * @param applied checksums by version
 */
export function missingMigrations(applied: ReadonlyMap<string, string>, migrations: readonly Migration[]): string[] {
  return migrations.filter((known) => applied.get(known.version) !== checksum(known)).map(({ file }) => file);
}

/** The SHA-256 of a migration, as stored in `schema_migrations`. */
export const checksum = (migration: Migration): string =>
  new Bun.CryptoHasher("sha256").update(textOf(migration)).digest("hex");

/** With the line ends of the repository, whatever Git made of them in a checkout on Windows. */
const textOf = ({ sql }: Migration): string => sql.replaceAll("\r\n", "\n");
