import type { SQL } from "bun";
import { StartupError } from "../config/startup-error.ts";
import type { WaitOptions } from "./migration-lock.ts";

/** One step of the schema: plain SQL, applied once, never changed afterwards. */
export type Migration = {
  /** Four digits, rising by one. */
  readonly version: string;
  /** As in `0001_users.sql`. */
  readonly file: string;
  readonly sql: string;
  /**
   * The oldest version of the program that may run beside the schema after this step, as in "0.2.0". Without it, programs that
   * do not know the step refuse the database.
   */
  readonly oldestProgram?: string;
  /**
   * How it runs, if not as one transaction. `index`: one `create index concurrently`, which cannot be in a transaction.
   * `batches`: one statement that changes a limited number of rows, again and again until it finds none.
   */
  readonly mode?: "index" | "batches";
};

/**
 * How long DDL may wait for a lock at a time, because everything else on the table waits behind it, and how long to leave the
 * table to others in between.
 */
export const LOCK_TIMEOUT_MS = 200;
const LOCK_RETRY_MS = 800;

/**
 * Applies a step and records it. The caller holds the lock for migrations, and passes the only connection of `sql`, on which
 * `lock_timeout` is `LOCK_TIMEOUT_MS`.
 * @throws StartupError if it fails, or cannot get a lock within `wait.timeoutMs`
 */
export async function applyStep(sql: SQL, migration: Migration, wait: WaitOptions): Promise<void> {
  const run = {
    transaction: () => sql.begin((tx) => applyStepIn(tx, migration)),
    index: () => buildIndex(sql, migration, wait.timeoutMs),
    batches: () => runBatches(sql, migration, wait),
  }[migration.mode ?? "transaction"];
  await withLockRetries(`Migration ${migration.file}`, wait, () => reporting(migration, run));
}

/**
 * Applies a step and records it in a transaction of the caller: for a restore, which takes effect as a whole. There, indexes
 * are built in the ordinary way, since the transaction has locked the tables anyway.
 */
export async function applyStepIn(tx: Bun.SQL, migration: Migration): Promise<void> {
  await reporting(migration, async () => {
    if (migration.mode === "batches") {
      while ((await tx.unsafe(textOf(migration))).count > 0);
    } else {
      await tx.unsafe(textOf(migration).replace(CONCURRENT_INDEX, "create$1 index $2")).simple();
    }
    await record(tx, migration);
  });
}

/** At the beginning of a line, so that comments may mention it. */
const CONCURRENT_INDEX = /^create( unique)? index concurrently (\w+)/im;

/** The name of the index that a step of the mode `index` creates. */
export function indexNameOf(migration: Migration): string | undefined {
  return CONCURRENT_INDEX.exec(textOf(migration))?.[2];
}

/**
 * Waiting for older transactions here blocks nobody, so it may take longer than for other locks. An index that is there
 * and valid was finished by a run that ended before it could record that.
 */
async function buildIndex(sql: SQL, migration: Migration, lockTimeoutMs: number): Promise<void> {
  const name = indexNameOf(migration);
  if (name === undefined)
    throw new StartupError(`Migration ${migration.file} has no "create index concurrently name".`);
  await limitLocks(sql, lockTimeoutMs);
  try {
    await dropInvalid(sql, name);
    const [found] = await sql`select to_regclass(${name}) is not null as exists`;
    if (!found.exists) await sql.unsafe(textOf(migration)).simple();
    await limitLocks(sql, LOCK_TIMEOUT_MS);
  } catch (error) {
    // An invalid index slows down writes. If dropping it fails, too, the next run does that.
    await limitLocks(sql, LOCK_TIMEOUT_MS)
      .then(() => dropInvalid(sql, name))
      .catch(() => {});
    throw error;
  }
  await record(sql, migration);
}

const limitLocks = async (sql: SQL, timeoutMs: number): Promise<void> =>
  await sql`select set_config('lock_timeout', ${String(timeoutMs)}, false)`;

/** An index is invalid if building it failed, or the process was killed meanwhile. */
async function dropInvalid(sql: SQL, name: string): Promise<void> {
  const [invalid] = await sql`select from pg_index where indexrelid = to_regclass(${name}) and not indisvalid`;
  if (invalid !== undefined) await sql.unsafe(`drop index concurrently ${name}`).simple();
}

/** Rests as long as each batch took, so that requests get at least half of the database. */
async function runBatches(sql: SQL, migration: Migration, wait: WaitOptions): Promise<void> {
  for (let changed = 1; changed > 0; ) {
    const started = performance.now();
    // Each batch has the whole time for its locks.
    await withLockRetries(`Migration ${migration.file}`, wait, async () => {
      changed = (await sql.unsafe(textOf(migration))).count;
    });
    await Bun.sleep(performance.now() - started);
  }
  await record(sql, migration);
}

async function record(sql: Bun.SQL, migration: Migration): Promise<void> {
  await sql.unsafe("insert into schema_migrations (version, file, checksum, oldest_program) values ($1, $2, $3, $4)", [
    migration.version,
    migration.file,
    checksum(migration),
    migration.oldestProgram ?? null,
  ]);
}

/** Turns errors into those of the step, except for locks, for which the caller tries again. */
async function reporting(migration: Migration, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (isLockTimeout(error) || error instanceof StartupError) throw error;
    const problem = migration.mode === "batches" ? "failed" : "failed and was rolled back";
    throw new StartupError(`Migration ${migration.file} ${problem}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Tries again until a transaction of others leaves the table. Giving way in between lets their statements pass.
 * @param what begins the sentences of the messages
 */
export async function withLockRetries<Result>(
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

/** The SHA-256 of a migration, as stored in `schema_migrations`. */
export const checksum = (migration: Migration): string =>
  new Bun.CryptoHasher("sha256").update(textOf(migration)).digest("hex");

/** With the line ends of the repository, whatever Git made of them in a checkout on Windows. */
const textOf = ({ sql }: Migration): string => sql.replaceAll("\r\n", "\n");
