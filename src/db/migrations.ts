import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { migrateJobSchema } from "./job-schema.ts";
import { connectionOptions, type Database } from "./pool.ts";
import { read } from "./statements.ts";

/** One step of the schema: plain SQL, applied once, never changed afterwards. */
export type Migration = {
  /** Four digits, rising by one. */
  readonly version: string;
  /** As in `0001_users.sql`. */
  readonly file: string;
  readonly sql: string;
};

/** The oldest PostgreSQL that the statements and the schema are written for. */
export const OLDEST_MAJOR = 15;

/** The lock of everyone who migrates a database. An arbitrary number that no other program uses. */
const LOCK = 7_306_418_211;

/**
 * Updates the schema: each missing migration in a transaction of its own, then the schema of the job queue, one
 * instance at a time.
 * @returns the files that were applied, in order
 * @throws StartupError if the database cannot be reached, is too old, is newer than this program, or has different
 *   migrations
 */
export async function migrate(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  connectTimeoutMs: number,
): Promise<string[]> {
  const sql = new SQL({
    ...connectionOptions(address, 1, { statement_timeout: "0" }),
    connectionTimeout: connectTimeoutMs / 1000,
  } as SQL.Options);
  try {
    await checkServer(sql, address);
    // A lock of the session, which covers all of the transactions below. Closing the connection releases it in any
    // case.
    await sql.unsafe(`select pg_advisory_lock(${LOCK})`);
    await sql.unsafe(
      `create table if not exists schema_migrations (
         version    text primary key,
         file       text not null,
         checksum   text not null,
         applied_at timestamptz not null default now())`,
    );
    const applied = (await sql.unsafe("select version, file, checksum from schema_migrations order by version")) as {
      version: string;
      file: string;
      checksum: string;
    }[];
    for (const [i, done] of applied.entries()) {
      const known = migrations[i];
      if (known === undefined) {
        throw new StartupError(
          `The database has migration ${done.file}, which this version of Conduit does not know: it is newer. Start that version, or restore an older backup.`,
        );
      }
      if (known.version !== done.version || checksum(known) !== done.checksum) {
        throw new StartupError(
          `Migration ${known.file} is not what was applied to this database (${done.file}): applied migrations must not be changed or removed. Restore the file, and add a new migration instead.`,
        );
      }
    }
    const missing = migrations.slice(applied.length);
    for (const migration of missing) {
      try {
        await sql.begin(async (tx) => {
          await tx.unsafe(migration.sql).simple();
          await tx.unsafe("insert into schema_migrations (version, file, checksum) values ($1, $2, $3)", [
            migration.version,
            migration.file,
            checksum(migration),
          ]);
        });
      } catch (error) {
        throw new StartupError(`Migration ${migration.file} failed and was rolled back: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
    await migrateJobSchema(address, connectTimeoutMs);
    return missing.map(({ file }) => file);
  } finally {
    await sql.close({ timeout: 0 }).catch(() => {});
  }
}

/**
 * The files of migrations that the database does not have, or has in a different form. Those that a newer program has
 * applied are ignored, because both run during an upgrade.
 */
export async function missingMigrations(db: Database, migrations: readonly Migration[]): Promise<string[]> {
  const applied = new Map((await db.rows(APPLIED, [])).map((row) => [row.version, row.checksum]));
  return migrations.filter((known) => applied.get(known.version) !== checksum(known)).map(({ file }) => file);
}

const APPLIED = read<{ version: string; checksum: string }>(
  "migrations_applied",
  "select version, checksum from schema_migrations",
);

async function checkServer(sql: SQL, address: DatabaseAddress): Promise<void> {
  let version: number;
  try {
    const [row] = (await sql.unsafe("select current_setting('server_version_num')::integer as version")) as {
      version: number;
    }[];
    version = row?.version ?? 0;
  } catch (error) {
    const where = address.socketPath ?? `${address.hostname}:${address.port}`;
    throw new StartupError(
      `Cannot reach the database "${address.database}" at ${where} as user "${address.username}": ${(error as Error).message}. Check DATABASE_URL, and that PostgreSQL is running and accepts connections from this machine.`,
      { cause: error },
    );
  }
  const major = Math.floor(version / 10_000);
  if (major < OLDEST_MAJOR) {
    throw new StartupError(`The database is PostgreSQL ${major}; Conduit needs ${OLDEST_MAJOR} or newer.`);
  }
}

/** The SHA-256 of a migration, as stored in `schema_migrations`. */
export const checksum = (migration: Migration): string =>
  new Bun.CryptoHasher("sha256").update(migration.sql).digest("hex");
