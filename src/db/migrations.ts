import type { SQL } from "bun";
import packageJson from "../../package.json" with { type: "json" };
import { type DatabaseAddress, directAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { sqlState } from "./errors.ts";
import { JOB_SCHEMA, migrateJobSchema } from "./job-schema.ts";
import { type WaitOptions, withMigrationLock } from "./migration-lock.ts";
import {
  applyStep,
  applyStepIn,
  checksum,
  LOCK_TIMEOUT_MS,
  type Migration,
  withLockRetries,
} from "./migration-steps.ts";
import { connectionProblem, findServer, withConnection } from "./reach.ts";
import { read } from "./statements.ts";

export type MigrateOptions = WaitOptions & {
  /** That of this program, to which newer migrations refer. */
  readonly programVersion: string;
};

/**
 * Updates the schema: each missing migration by itself, then the schema of the job queue, one instance at a time. A program
 * that needs no change does not wait while another one migrates.
 * @param options.timeoutMs how long to wait for a standby to become writable, for another server's migration, and for a
 *   lock on a table
 * @param options.onProgress gets one line for each reason to wait, and one if the schema is that of a newer version
 * @returns the files that were applied, in order
 * @throws StartupError where the database cannot be reached, is too old, not UTF-8, newer than this program, was migrated
 *   by another history, or kept this program waiting for too long
 */
export async function migrate(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  connectTimeoutMs: number,
  options: Partial<MigrateOptions> = {},
): Promise<string[]> {
  const wait: MigrateOptions = {
    timeoutMs: 60_000,
    onProgress: () => {},
    programVersion: packageJson.version,
    ...options,
    connectTimeoutMs,
  };
  const server = await findServer(directAddress(address), { ...wait, mustWrite: true });
  try {
    const session = {
      application_name: "conduit migrate",
      statement_timeout: "0",
      lock_timeout: String(LOCK_TIMEOUT_MS),
    };
    const connected = <Result>(use: (sql: SQL) => Promise<Result>) =>
      withConnection(server, connectTimeoutMs, session, use);
    const work = async () => {
      const files = await connected((sql) => applyMissing(sql, server, migrations, wait));
      await withLockRetries(`The schema ${JOB_SCHEMA}`, wait, () =>
        migrateJobSchema(server, connectTimeoutMs, LOCK_TIMEOUT_MS),
      );
      return files;
    };
    const whenLocked = async () => ((await connected((sql) => needsNothing(sql, migrations, wait))) ? [] : undefined);
    return await withMigrationLock(server, wait, work, whenLocked);
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`${connectionProblem(error, server)}.`, { cause: error });
  }
}

async function applyMissing(
  sql: SQL,
  address: DatabaseAddress,
  migrations: readonly Migration[],
  options: MigrateOptions,
): Promise<string[]> {
  if (!(await hasHistory(sql))) await createHistory(sql, address);
  const missing = await readMissing(sql, migrations, options);
  for (const migration of missing) await applyStep(sql, migration, options);
  return missing.map(({ file }) => file);
}

/** Whether a program may start while another one migrates: it has all that it knows, and a job queue. */
async function needsNothing(sql: SQL, migrations: readonly Migration[], options: MigrateOptions): Promise<boolean> {
  if (!(await hasHistory(sql))) return false;
  const [queue] = await sql`select to_regclass(${`${JOB_SCHEMA}._private_jobs`}) is not null as exists`;
  return queue.exists && (await readMissing(sql, migrations, options)).length === 0;
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
  if (!(await hasHistory(tx))) await createHistory(tx, address);
  const options = { programVersion: packageJson.version, onProgress() {} };
  for (const migration of await readMissing(tx, migrations, options)) await applyStepIn(tx, migration);
}

async function readMissing(
  sql: SQL,
  migrations: readonly Migration[],
  { programVersion, onProgress }: Pick<MigrateOptions, "programVersion" | "onProgress">,
): Promise<readonly Migration[]> {
  const applied = (await sql.unsafe(HISTORY.text)) as Applied[];
  for (const [i, known] of migrations.slice(0, applied.length).entries()) {
    const done = applied[i] as Applied;
    if (known.version !== done.version || checksum(known) !== done.checksum) {
      throw new StartupError(
        `Migration ${known.file} is not what was applied to this database (${done.file}): applied migrations must not be changed or removed. Put the file back as it was, and change the schema by a new one.`,
      );
    }
  }
  const newer = applied.slice(migrations.length);
  for (const { file, oldestProgram } of newer) {
    if (mayRunBeside(oldestProgram, programVersion)) continue;
    const needed = oldestProgram === null ? "that newer version" : `version ${oldestProgram} or newer`;
    throw new StartupError(
      `The database has migration ${file}, which this version of Conduit (${programVersion}) does not know: it is newer. Start ${needed}, or restore a backup from before.`,
    );
  }
  if (newer.length > 0) {
    onProgress(
      `The database has the schema of a newer version of Conduit, beside which version ${programVersion} may run.`,
    );
  }
  return migrations.slice(applied.length);
}

type Applied = { version: string; file: string; checksum: string; oldestProgram: string | null };

const HISTORY = read<Applied>(
  "migration_history",
  `select version, file, checksum, oldest_program as "oldestProgram" from schema_migrations order by version`,
);

/**
 * Whether a program may run beside a migration that it does not know.
 * @param oldestProgram what the migration recorded
 */
export function mayRunBeside(oldestProgram: string | null, programVersion: string): boolean {
  return oldestProgram !== null && Bun.semver.order(programVersion, oldestProgram) >= 0;
}

/** Whether there is a table of applied migrations, with all its columns. Then the user need not be allowed to create it. */
async function hasHistory(sql: SQL): Promise<boolean> {
  const [found] = await sql`
    select count(*) = 1 as exists from pg_attribute
     where attrelid = to_regclass('schema_migrations') and attname = 'oldest_program'`;
  return found.exists;
}

async function createHistory(sql: SQL, { username, database }: DatabaseAddress): Promise<void> {
  try {
    await sql
      .unsafe(
        `create table if not exists schema_migrations (
           version    text primary key,
           file       text not null,
           checksum   text not null,
           applied_at timestamptz not null default now());
         -- The oldest version of the program that may run beside this step without knowing it; null if none may.
         alter table schema_migrations add column if not exists oldest_program text`,
      )
      .simple();
  } catch (error) {
    // PostgreSQL: insufficient_privilege, and invalid_schema_name where no schema of the search path exists.
    if (!["42501", "3F000"].includes(sqlState(error) ?? "")) throw error;
    throw new StartupError(
      `The database user "${username}" may not create tables in the database "${database}" (${(error as Error).message}). Run there as an administrator: grant create on schema public to "${username}"`,
      { cause: error },
    );
  }
}

/**
 * The files of migrations that this program knows and the database does not have, or has in another form. Those that a
 * newer program has added are none of its business: during an upgrade both run.
 * @param applied checksums by version
 */
export function missingMigrations(applied: ReadonlyMap<string, string>, migrations: readonly Migration[]): string[] {
  return migrations.filter((known) => applied.get(known.version) !== checksum(known)).map(({ file }) => file);
}
