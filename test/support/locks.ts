import type { SQL } from "bun";
import { until } from "./until.ts";

/** Resolves when this many statements on the database of `sql` wait for a lock. */
export async function untilWaiting(sql: SQL, statements: number): Promise<void> {
  await until(
    async () => {
      const [row] = await sql`
        select count(*)::integer as waiting from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`;
      return row.waiting >= statements;
    },
    () => `${statements} statements wait for a lock`,
  );
}

/** Resolves when this many statements on the database of `sql` that contain `text` are running. */
export async function untilActive(sql: SQL, text: string, statements: number): Promise<void> {
  await until(
    async () => {
      const [row] = await sql`
        select count(*)::integer as active from pg_stat_activity
         where datname = current_database() and state = 'active' and pid <> pg_backend_pid()
           and position(${text} in query) > 0`;
      return row.active >= statements;
    },
    () => `${statements} statements with "${text}" are running`,
  );
}
