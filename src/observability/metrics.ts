import { monitorEventLoopDelay } from "node:perf_hooks";
import {
  AggregatorRegistry,
  Counter,
  Gauge,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import { durationHistogram } from "./durations.ts";
import type { RequestObserver, StatementObserver } from "./observers.ts";

/** The values of a process's metrics, as a worker sends them to its supervisor. */
export type MetricsSnapshot = MetricObjectWithValues<MetricValue<string>>[];

type MetricOptions = {
  /** What is counted, with the unit last if there is one: `password_hashes_waiting`. */
  readonly name: string;
  readonly help: string;
};

/** `value` is called at every scrape, so it must be cheap. Undefined if the number is unknown. */
export type NumberOptions = MetricOptions & {
  readonly value: () => number | undefined | Promise<number | undefined>;
};

/** As `NumberOptions`, with a number for each value of a label. That set must be closed. */
export type NumbersOptions = MetricOptions & {
  readonly label: string;
  readonly values: () => Numbers | undefined | Promise<Numbers | undefined>;
};
type Numbers = Readonly<Record<string, number>>;

/** The metrics of this process. docs/operations/monitoring.md says what they are for. */
export type Metrics = RequestObserver &
  StatementObserver & {
    /** Adds a number that may rise and fall. */
    gauge(options: NumberOptions): void;
    /** Adds such a number for each value of a label. */
    gauges(options: NumbersOptions): void;
    /** Adds a number that only rises. Its name ends in `_total`. */
    counter(options: NumberOptions): void;
    /**
     * Starts the series of these statements and pools at 0: a rate over a series that appears with its first event misses
     * that event.
     */
    expect(statements: Iterable<string>, pools: Iterable<string>): void;
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

  const requests = requestCounter(registers);
  const requestDuration = durationHistogram(registry, {
    name: "http_request_duration_seconds",
    help: "Time from the arrival of a request's head to its response.",
    buckets: REQUEST_BUCKETS_S,
  });
  const durationOfRequests = remembered((method: string) =>
    remembered((route: string) => requestDuration({ method, route })),
  );
  const statementDuration = durationHistogram(registry, {
    name: "database_statement_duration_seconds",
    help: "Time from the call of a statement to its rows, with waits and repetitions.",
    buckets: STATEMENT_BUCKETS_S,
  });
  const durationOfStatement = remembered((statement: string) => statementDuration({ statement }));
  const statementFailures = new Counter({
    name: "database_statement_failures_total",
    help: "Statements that failed, violated constraints included.",
    labelNames: ["statement"],
    registers,
  });
  const wait = durationHistogram(registry, {
    name: "database_wait_seconds",
    help: "Time that statements waited for a connection, of those that had to wait.",
    buckets: STATEMENT_BUCKETS_S,
  });
  const waitForPool = remembered((pool: string) => wait({ pool }));
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
      requests(method)(route)(status).count++;
      durationOfRequests(method)(route).observe(durationMs / 1000);
    },
    onStatement({ name }, durationMs, error) {
      durationOfStatement(name).observe(durationMs / 1000);
      if (error !== undefined) statementFailures.inc({ statement: name });
    },
    onWait(pool, waitedMs) {
      waitForPool(pool).observe(waitedMs / 1000);
    },
    gauge,
    gauges({ name, help, label, values }) {
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        async collect() {
          // What was known before stays when the numbers cannot be read now.
          for (const [value, number] of Object.entries((await inTime(values)) ?? {}))
            this.set({ [label]: value }, number);
        },
      });
    },
    counter,
    expect(statements, pools) {
      for (const statement of statements) statementFailures.inc({ statement }, 0);
      for (const pool of pools) waitForPool(pool);
    },
    snapshot: () => registry.getMetricsAsJSON(),
    text: () => registry.metrics(),
    close: closeProcess,
  };
}

/** Counts requests by method, route and status. The counts are prom-client's at each scrape, as in durations.ts. */
function requestCounter(registers: Registry[]) {
  const series: { labels: Record<string, string | number>; count: number }[] = [];
  new Counter({
    name: "http_requests_total",
    help: "Responses sent.",
    labelNames: ["method", "route", "status"],
    registers,
    collect() {
      this.reset();
      for (const { labels, count } of series) this.inc(labels, count);
    },
  });
  return remembered((method: string) =>
    remembered((route: string) =>
      remembered((status: number) => {
        const counted = { labels: { method, route, status }, count: 0 };
        series.push(counted);
        return counted;
      }),
    ),
  );
}

/** Returns for each key what `make` returned for it at first. The keys must come from a closed set. */
function remembered<Key, Value>(make: (key: Key) => Value): (key: Key) => Value {
  const known = new Map<Key, Value>();
  return (key) => {
    let value = known.get(key);
    if (value === undefined) {
      value = make(key);
      known.set(key, value);
    }
    return value;
  };
}

/** How long a scrape waits for a number: it is needed most when what it asks is slow. */
const SCRAPE_WAIT_MS = 1_000;

/** The result of `value`; undefined if it fails or takes too long. */
async function inTime<Value>(value: () => Value | Promise<Value>): Promise<Value | undefined> {
  try {
    const found = value();
    return found instanceof Promise ? ((await Promise.race([found, Bun.sleep(SCRAPE_WAIT_MS)])) ?? undefined) : found;
  } catch {
    return undefined;
  }
}

/**
 * One text of the metrics of several processes. Each process has labels of its own, so nothing is summed: when a process
 * restarts, only its own counters start again.
 */
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
    help: "The version that runs; the value is always 1.",
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
    help: "Memory that JavaScript objects take.",
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
    help: "Delay of the event loop since the last scrape, 99th percentile.",
    value: () => delay.percentile(99) / 1e9,
  });
  gauge({
    name: "event_loop_delay_max_seconds",
    help: "Delay of the event loop since the last scrape, maximum.",
    value() {
      const max = delay.max / 1e9;
      delay.reset();
      return max;
    },
  });
  return () => void delay.disable();
}
