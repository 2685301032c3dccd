import { monitorEventLoopDelay } from "node:perf_hooks";
import {
  AggregatorRegistry,
  Counter,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import type { Database, DatabaseObserver, PoolName } from "../db/pool.ts";
import { read, statements } from "../db/statements.ts";
import type { RequestObserver } from "../http/request-log.ts";

/** The values of a process's metrics, as they go to who puts those of several processes together. */
export type MetricsSnapshot = MetricObjectWithValues<MetricValue<string>>[];

export type NumberOptions = {
  /** As in `password_hashes_waiting`: what is counted; the unit last where there is one. */
  readonly name: string;
  readonly help: string;
  /** Read at every scrape, so it must be cheap. Undefined where it is not known now. */
  readonly value: () => number | undefined | Promise<number | undefined>;
};

/** The metrics of this process. Why which: docs/operations.md. */
export type Metrics = RequestObserver &
  DatabaseObserver & {
    /** Adds a number that somebody else keeps, and that may rise and fall. */
    gauge(options: NumberOptions): void;
    /** Adds a number that somebody else keeps, and that only rises. Its name ends in `_total`. */
    counter(options: NumberOptions): void;
    /** Adds what a database knows of itself. */
    watchDatabase(db: Database): void;
    snapshot(): Promise<MetricsSnapshot>;
    /** Prometheus text format 0.0.4. */
    text(): Promise<string>;
    close(): void;
  };

const REQUEST_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const STATEMENT_BUCKETS_S = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/**
 * Every label's values come from a closed set (methods, route patterns, status codes, statement names, table names), so
 * the number of series is bounded whatever clients send.
 * @param labels of every series of this process, such as the worker's number
 */
export function createMetrics(version: string, labels: Record<string, string> = {}): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  const registers = [registry];

  const requests = new Counter({
    name: "http_requests_total",
    help: "Requests answered.",
    labelNames: ["method", "route", "status"],
    registers,
  });
  const requestDuration = new Histogram({
    name: "http_request_duration_seconds",
    help: "From the arrival of a request's head to its answer.",
    labelNames: ["method", "route"],
    buckets: REQUEST_BUCKETS_S,
    registers,
  });
  const statementDuration = new Histogram({
    name: "database_statement_duration_seconds",
    help: "From the call of a statement to its rows, waiting and repetitions included.",
    labelNames: ["statement"],
    buckets: STATEMENT_BUCKETS_S,
    registers,
  });
  const statementFailures = new Counter({
    name: "database_statement_failures_total",
    help: "Statements that failed, violated constraints included.",
    labelNames: ["statement"],
    registers,
  });
  const wait = new Histogram({
    name: "database_wait_seconds",
    help: "How long statements waited for a connection, where they had to.",
    labelNames: ["lane"],
    buckets: STATEMENT_BUCKETS_S,
    registers,
  });
  const gauge = ({ name, help, value }: NumberOptions): void => {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const now = await inTime(value);
        if (now === undefined) this.remove();
        else this.set(now);
      },
    });
  };
  const counter = ({ name, help, value }: NumberOptions): void => {
    new Counter({
      name,
      help,
      registers,
      async collect() {
        const now = await value();
        this.reset();
        this.inc(now ?? 0);
      },
    });
  };
  const closeProcess = watchProcess(version, registry, gauge, counter);

  return {
    onRequest(method, route, status, durationMs) {
      requests.inc({ method, route, status });
      requestDuration.observe({ method, route }, durationMs / 1000);
    },
    onStatement({ name }, durationMs, failed) {
      statementDuration.observe({ statement: name }, durationMs / 1000);
      if (failed) statementFailures.inc({ statement: name });
    },
    onWait(lane, waitedMs) {
      wait.observe({ lane }, waitedMs / 1000);
    },
    gauge,
    counter,
    watchDatabase(db) {
      // Series exist from the start: a rate over one that appears with its first event misses that event.
      for (const name of statements.keys()) statementFailures.inc({ statement: name }, 0);
      for (const lane of LANES) wait.zero({ lane });
      watchDatabase(registry, db);
    },
    snapshot: () => registry.getMetricsAsJSON(),
    text: () => registry.metrics(),
    close: closeProcess,
  };
}

/** One text of the metrics of several processes. Each has labels of its own, so nothing is added up: a process that starts anew is a reset of its own counters alone. */
export function mergeMetrics(snapshots: MetricsSnapshot[]): Promise<string> {
  return AggregatorRegistry.aggregate(snapshots).metrics();
}

function watchProcess(
  version: string,
  registry: Registry,
  gauge: Metrics["gauge"],
  counter: Metrics["counter"],
): () => void {
  const registers = [registry];
  new Gauge({
    name: "conduit_build_info",
    help: "What runs; the value is always 1.",
    labelNames: ["version", "bun"],
    registers,
  }).set({ version, bun: Bun.version }, 1);
  counter({
    name: "process_cpu_seconds_total",
    help: "CPU time of the process, user and system.",
    value() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  });
  gauge({
    name: "process_resident_memory_bytes",
    help: "Memory of the process that is in RAM.",
    value: () => process.memoryUsage.rss(),
  });
  gauge({
    name: "process_heap_used_bytes",
    help: "Memory of the process that JavaScript objects take.",
    value: () => process.memoryUsage().heapUsed,
  });
  const startedS = Date.now() / 1000 - process.uptime();
  gauge({
    name: "process_start_time_seconds",
    help: "When the process started, in seconds since 1970.",
    value: () => startedS,
  });
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  gauge({
    name: "event_loop_delay_p99_seconds",
    help: "How late the event loop came to its work since the last scrape, 99th percentile.",
    value: () => delay.percentile(99) / 1e9,
  });
  gauge({
    name: "event_loop_delay_max_seconds",
    help: "How late the event loop came to its work since the last scrape, at worst.",
    value() {
      const max = delay.max / 1e9;
      delay.reset();
      return max;
    },
  });
  return () => void delay.disable();
}

const LANES: readonly PoolName[] = ["read", "write", "custom"];
/** Statistics of PostgreSQL, which are not exact but cost nothing; asked for at most this often. */
const ROWS_KEPT_MS = 30_000;

function watchDatabase(registry: Registry, db: Database): void {
  const registers = [registry];
  for (const [name, help, key] of [
    ["database_statements_under_way", "Statements sent whose answer is not here yet.", "inUse"],
    ["database_statements_under_way_max", "How many statements may be under way at a time.", "max"],
    ["database_statements_waiting", "Statements that wait for their turn.", "waiting"],
  ] as const) {
    new Gauge({
      name,
      help,
      labelNames: ["lane"],
      registers,
      collect() {
        const state = db.state();
        for (const lane of LANES) this.set({ lane }, state[lane][key]);
      },
    });
  }
  let asked = Number.NEGATIVE_INFINITY;
  new Gauge({
    name: "conduit_rows",
    help: "Rows of each table, by PostgreSQL's estimate: users, articles, comments and all the rest.",
    labelNames: ["table"],
    registers,
    async collect() {
      if (performance.now() - asked < ROWS_KEPT_MS) return;
      asked = performance.now();
      const refresh = async () => {
        for (const { table, rows } of await db.rows(TABLE_ROWS, [])) this.set({ table }, Number(rows));
      };
      // What was known stays; that the database is away is told by database_up.
      const isDone = await answersInTime(refresh());
      if (!isDone) asked = Number.NEGATIVE_INFINITY;
    },
  });
  new Gauge({
    name: "database_up",
    help: "1 where the database answers this scrape, else 0.",
    registers,
    async collect() {
      this.set((await answersInTime(db.ping())) ? 1 : 0);
    },
  });
}

/** A scrape does not wait for a database that hangs: it is wanted most just then. */
const SCRAPE_WAIT_MS = 1_000;

/** A value that is not there in time, or cannot be had, is not known now. */
async function inTime(value: NumberOptions["value"]): Promise<number | undefined> {
  try {
    const found = value();
    return found instanceof Promise ? ((await Promise.race([found, Bun.sleep(SCRAPE_WAIT_MS)])) ?? undefined) : found;
  } catch {
    return undefined;
  }
}

async function answersInTime(asking: Promise<void>): Promise<boolean> {
  const answered = asking.then(
    () => true,
    () => false,
  );
  return await Promise.race([answered, Bun.sleep(SCRAPE_WAIT_MS).then(() => false)]);
}

const TABLE_ROWS = read<{ table: string; rows: string }>(
  "table_rows",
  `select c.relname as table, greatest(c.reltuples, s.n_live_tup, 0)::bigint::text as rows
   from pg_class c join pg_stat_user_tables s on s.relid = c.oid
   where c.relnamespace = current_schema()::regnamespace`,
);
