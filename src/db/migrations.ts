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

/** One lock for everybody who migrates a database. Any number does, as long as it is ours alone. */
const LOCK = 7_306_418_211;

/**
 * Brings the schema up to date: each missing migration in a transaction of its own, then the schema of the job queue, one
 * instance at a time.
 * @returns the files that were applied, in order
 * @throws StartupError where the database cannot be reached, is too old, newer than this program, or was migrated by
 *   another history
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
    // A session's lock, not a transaction's: it is held over all of the transactions below. Closing the connection
    // gives it back, whatever happens.
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
          `The database has migration ${done.file}, which this version of Conduit does not know: it is newer. Start that newer version, or restore a backup from before.`,
        );
      }
      if (known.version !== done.version || checksum(known) !== done.checksum) {
        throw new StartupError(
          `Migration ${known.file} is not what was applied to this database (${done.file}): applied migrations must not be changed or removed. Put the file back as it was, and change the schema by a new one.`,
        );
      }
    }
    const missing = migrations.slice(applied.length);
    for (const migration of missing) {
      try {
        await sql.begin(async (tx) => {
          await tx.unsafe(textOf(migration)).simple();
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
 * The files of migrations that this program knows and the database does not have, or has in another form. Those that a
 * newer program has added are none of its business: during an upgrade both run.
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
      `Cannot reach the database "${address.database}" at ${where} as user "${address.username}": ${(error as Error).message}. Check DATABASE_URL, and that PostgreSQL is running and lets this machine in.`,
      { cause: error },
    );
  }
  const major = Math.floor(version / 10_000);
  if (major < OLDEST_MAJOR) {
    throw new StartupError(`The database is PostgreSQL ${major}; Conduit needs ${OLDEST_MAJOR} or newer.`);
  }
}

/** Of the file as it is applied. */
export const checksum = (migration: Migration): string =>
  new Bun.CryptoHasher("sha256").update(textOf(migration)).digest("hex");

/** With the line ends of the repository, whatever Git made of them in a checkout on Windows. */
const textOf = ({ sql }: Migration): string => sql.replaceAll("\r\n", "\n");
