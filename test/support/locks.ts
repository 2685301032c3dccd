import type { SQL } from "bun";

/** Resolves when this many statements on the database of `sql` wait for a lock. Throws after 10 s. */
export async function untilWaiting(sql: SQL, statements: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const [row] = await sql`
      select count(*)::integer as waiting from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`;
    if (row.waiting >= statements) return;
    if (performance.now() > deadline) throw new Error(`${row.waiting} statements wait for a lock, not ${statements}`);
    await Bun.sleep(10);
  }
}

/** Resolves when this many statements on the database of `sql` that contain `text` are running. Throws after 10 s. */
export async function untilActive(sql: SQL, text: string, statements: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const [row] = await sql`
      select count(*)::integer as active from pg_stat_activity
       where datname = current_database() and state = 'active' and pid <> pg_backend_pid()
         and position(${text} in query) > 0`;
    if (row.active >= statements) return;
    if (performance.now() > deadline) throw new Error(`${row.active} statements are running, not ${statements}`);
    await Bun.sleep(10);
  }
}
