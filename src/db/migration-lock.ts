import type { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { withConnection } from "./reach.ts";
import { read } from "./statements.ts";

/** One lock for everybody who migrates a database. Any number does, as long as it is ours alone. */
const LOCK = 7_306_418_211;

const POLL_MS = 200;

export type WaitOptions = {
  readonly connectTimeoutMs: number;
  /** How long to wait for another server's migration, and for each lock on a table. */
  readonly timeoutMs: number;
  readonly onProgress: (message: string) => void;
};

/**
 * Runs `work` while no other server migrates the database. The lock belongs to a transaction on a connection of its own,
 * so a transaction pooler keeps it, and it ends with the connection. Waiting is polling: a statement that waits for a lock
 * holds a snapshot, for which `create index concurrently` on another server would wait in turn.
 * @param whenLocked runs each time that another server holds the lock; what it returns, if not undefined, ends the waiting
 * @throws StartupError if another server migrates for longer than `timeoutMs`, and what `work` throws
 */
export async function withMigrationLock<Result>(
  address: DatabaseAddress,
  { connectTimeoutMs, timeoutMs, onProgress }: WaitOptions,
  work: () => Promise<Result>,
  whenLocked: () => Promise<Result | undefined> = async () => undefined,
): Promise<Result> {
  const session = {
    application_name: "conduit migration lock",
    statement_timeout: "0",
    idle_in_transaction_session_timeout: "0",
  };
  return await withConnection(address, connectTimeoutMs, session, async (sql) => {
    const deadline = performance.now() + timeoutMs;
    const seconds = Math.round(timeoutMs / 1000);
    for (let isReported = false; ; ) {
      const result = await whileLocked(sql, work);
      if (result !== undefined) return result.value;
      const substitute = await whenLocked();
      if (substitute !== undefined) return substitute;
      const other = isReported && performance.now() < deadline ? "" : await holderOf(sql);
      if (performance.now() >= deadline) {
        throw new StartupError(
          `${other} is still migrating this database after ${seconds} s (DATABASE_START_TIMEOUT). Start again when it has finished, or end its connection.`,
        );
      }
      if (!isReported) onProgress(`${other} is migrating this database. Waiting at most ${seconds} s …`);
      isReported = true;
      await Bun.sleep(POLL_MS);
    }
  });
}

async function whileLocked<Result>(sql: SQL, work: () => Promise<Result>): Promise<{ value: Result } | undefined> {
  let result: { value: Result } | undefined;
  try {
    await sql.begin(async (transaction) => {
      const [row] = (await transaction.unsafe(TRY_LOCK.text)) as { locked: boolean }[];
      if (row?.locked) result = { value: await work() };
    });
  } catch (error) {
    // The work is done, whatever became of the connection that held the lock.
    if (result === undefined) throw error;
  }
  return result;
}

const TRY_LOCK = read<{ locked: boolean }>("migration_lock", `select pg_try_advisory_xact_lock(${LOCK}) as locked`);

async function holderOf(sql: SQL): Promise<string> {
  const [holder] = (await sql.unsafe(HOLDER.text)) as { pid: number; address: string; seconds: number }[];
  if (holder === undefined) return "Another server";
  return `Another server (${holder.address}, process ${holder.pid} of PostgreSQL, for ${holder.seconds} s)`;
}

// PostgreSQL shows the details of sessions of the same role only.
const HOLDER = read<{ pid: number; address: string; seconds: number }>(
  "migration_lock_holder",
  `select a.pid, coalesce(host(a.client_addr), 'on the database''s machine') as address,
          coalesce(extract(epoch from now() - a.xact_start), 0)::integer as seconds
     from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and (l.classid::bigint << 32) | l.objid::bigint = ${LOCK}`,
);
