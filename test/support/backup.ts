import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import type { BackupReport } from "../../src/db/backup/format.ts";
import { restoreBackup } from "../../src/db/backup/restore.ts";
import { type BackupTimes, writeBackup } from "../../src/db/backup/write.ts";
import { QUEUE_ALL } from "../../src/features/articles/search/indexing.ts";
import { AFTER_RESTORE } from "../../src/features/identity/restored-data.ts";
import { connect, type TestServer } from "./harness.ts";
import { until } from "./until.ts";

export const backUp = (
  address: DatabaseAddress,
  file: string,
  times: Partial<BackupTimes> = {},
): Promise<BackupReport> => writeBackup(address, migrations, "1.2.3", file, { connectMs: 5_000, ...times });

/** @param finish what the program itself runs at the end, unless it is given */
export const restoreInto = (
  address: DatabaseAddress,
  file: string,
  finish = [...AFTER_RESTORE, QUEUE_ALL],
): Promise<BackupReport> =>
  restoreBackup(address, migrations, file, { finish, connectTimeoutMs: 5_000, timeoutMs: 5_000, onProgress() {} });

/** Every row and every identity column, except for the search index and the time at which a migration ran. */
export async function contents(address: DatabaseAddress): Promise<Record<string, unknown>> {
  const sql = connect(address, 1);
  const tables =
    (await sql`select relname from pg_class where relkind in ('r', 'S') and relnamespace = 'public'::regnamespace
      and relname not in ('article_search', 'search_queue', 'search_queue_id_seq', 'search_words')
    order by relname`) as { relname: string }[];
  const found: Record<string, unknown> = {};
  for (const { relname } of tables) {
    const columns = relname === "schema_migrations" ? "version, file, checksum" : "*";
    const name = relname.endsWith("_seq")
      ? `(select last_value, is_called from ${relname})`
      : `(select ${columns} from ${relname})`;
    found[relname] = await sql.unsafe(`select to_jsonb(t)::text as row from ${name} t order by 1`);
  }
  await sql.close();
  return found;
}

/** What the schema is beyond its tables: triggers that are on, and keys that are checked at once. */
export async function guards(address: DatabaseAddress): Promise<unknown> {
  const sql = connect(address, 1);
  const found = await sql`
    select tgname as name, tgenabled::text as state from pg_trigger where not tgisinternal
    union all select conname, condeferrable::text from pg_constraint where contype = 'f' order by 1`;
  await sql.close();
  return found;
}

/**
 * Lets backups of a database wait when they come to the counts of authors, with their snapshot taken and their file begun.
 * Other readers of that table wait, too.
 * @returns `waiting` resolves when a backup is there; `run` runs a statement meanwhile; `end` lets the backup continue
 */
export async function pauseBackups({ sql }: TestServer) {
  // A policy is the one thing that makes a reader wait in the middle. It concerns the owner of the table only if forced.
  await sql`create policy pause on author_counts using (pg_advisory_xact_lock_shared(7) is not null)`;
  await sql`alter table author_counts enable row level security, force row level security`;
  const holder = await sql.reserve();
  await holder`begin`;
  await holder`select pg_advisory_xact_lock(7)`;
  return {
    waiting: () =>
      until(async () => {
        const waiting = await sql`
          select from pg_stat_activity
           where datname = current_database() and application_name = 'conduit backup' and wait_event = 'advisory'`;
        return waiting.length > 0;
      }),
    run: holder,
    async end() {
      await holder`commit`;
      holder.release();
      await sql`alter table author_counts no force row level security, disable row level security`;
      await sql`drop policy pause on author_counts`;
    },
  };
}
