import type { Metrics } from "../observability/metrics.ts";
import { type Database, POOLS } from "./pool.ts";
import { read, statements } from "./statements.ts";

/** PostgreSQL's statistics cost little, but not nothing: they are read at most this often. */
const TABLE_ROWS_KEPT_MS = 30_000;

/** Adds the metrics of a database: its pools, its tables, and whether it responds. */
export function watchDatabase(metrics: Metrics, db: Database): void {
  metrics.expect(statements.keys(), POOLS);
  for (const [name, help, key] of [
    ["database_statements_in_flight", "Statements sent that have no result yet.", "inUse"],
    ["database_statements_in_flight_max", "Statements that may be in flight at a time.", "max"],
    ["database_statements_waiting", "Statements that wait for a connection.", "waiting"],
  ] as const) {
    metrics.gauges({
      name,
      help,
      label: "pool",
      values() {
        const state = db.state();
        return Object.fromEntries(POOLS.map((pool) => [pool, state[pool][key]]));
      },
    });
  }
  for (const [name, help, key] of [
    ["database_replica_reads_total", "Reads that a replica has run.", "served"],
    ["database_replica_stale_total", "Reads that the primary has run, as the replica was not up to date.", "stale"],
    ["database_replica_away_total", "Reads that the primary has run, as no replica was available.", "away"],
  ] as const) {
    metrics.counter({ name, help, value: () => db.replicas()?.[key] ?? 0 });
  }
  let readAt = Number.NEGATIVE_INFINITY;
  metrics.gauges({
    name: "conduit_rows",
    help: "Rows of each table, as PostgreSQL estimates them.",
    label: "table",
    async values() {
      if (performance.now() - readAt < TABLE_ROWS_KEPT_MS) return undefined;
      // In a transaction, as those run at the primary: a standby has no statistics of its tables.
      const rows = await db.transaction((tx) => tx.rows(TABLE_ROWS, []));
      readAt = performance.now();
      return Object.fromEntries(rows.map(({ table, rows }) => [table, Number(rows)]));
    },
  });
  metrics.gauge({
    name: "database_up",
    help: "1 if the database responds to this scrape, otherwise 0.",
    value: () =>
      Promise.race([
        db.probe().then(
          () => 1,
          () => 0,
        ),
        Bun.sleep(PING_WAIT_MS).then(() => 0),
      ]),
  });
}

/** Shorter than a scrape waits for a number, so that a database that hangs is 0 and not unknown. */
const PING_WAIT_MS = 800;

const TABLE_ROWS = read<{ table: string; rows: string }>(
  "table_rows",
  `select c.relname as table, greatest(c.reltuples, s.n_live_tup, 0)::bigint::text as rows
   from pg_class c join pg_stat_user_tables s on s.relid = c.oid
   where c.relnamespace = current_schema()::regnamespace`,
);
