import type { Subprocess } from "bun";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import type { Log } from "../observability/log.ts";
import type { MetricsSnapshot } from "../observability/metrics.ts";
import { serveMetrics } from "../observability/metrics-server.ts";
import { poolMaxPerProcess, requireConnections } from "./connections.ts";
import {
  closeAll,
  jwtSecret,
  mailboxPath,
  prepareDatabase,
  type RunningServer,
  requireFreePort,
  serverLog,
  warn,
} from "./server.ts";
import { openMetrics } from "./telemetry.ts";
import { type FromWorker, type ToWorker, WORKER_VARIABLE } from "./worker.ts";
import { createWorkerReports, type WorkerReports } from "./worker-reports.ts";

/** Delays before a crashed worker restarts, by the number of consecutive crashes. */
const RESTART_DELAYS_MS = [0, 250, 1_000, 3_000, 10_000, 30_000];
/** After this time, a crash counts as the first again. */
const STABLE_AFTER_MS = 60_000;
const START_TIMEOUT_MS = 30_000;
/** How long a scrape waits for the metrics of a worker. */
const METRICS_TIMEOUT_MS = 2_000;

/**
 * Starts several processes on one port, under a supervisor that owns what they share: the database, the metrics port, the
 * secret. It handles no requests itself, and restarts workers that crash.
 */
export async function startWorkers(config: Config, onProgress: (message: string) => void): Promise<RunningServer> {
  if (process.platform !== "linux") {
    throw new StartupError("WORKERS needs Linux, where several processes can listen on one port. Use WORKERS=1.");
  }
  const closers: (() => unknown)[] = [];
  try {
    requireConnections(config);
    await requireFreePort(config);
    const log = serverLog(config);
    const metrics = await openMetrics(config, { worker: "supervisor" });
    if (metrics !== undefined) closers.push(metrics.close);
    const workers: Worker[] = [];
    const metricsText = async () => {
      const { mergeMetrics } = await import("../observability/metrics.ts");
      const snapshots = await Promise.all([metrics?.snapshot(), ...workers.map((worker) => worker.metrics())]);
      return mergeMetrics(snapshots.filter((snapshot) => snapshot !== undefined));
    };
    const metricsServer = metrics === undefined ? undefined : serveMetrics(config, metricsText);
    if (metricsServer !== undefined) closers.push(() => metricsServer.stop(true));
    metrics?.gauge({
      name: "conduit_workers",
      help: "Workers that handle requests.",
      value: () => workers.filter((worker) => worker.isUp()).length,
    });
    metrics?.gauge({
      name: "conduit_workers_expected",
      help: "Configured number of workers.",
      value: () => config.workers,
    });
    metrics?.counter({
      name: "conduit_worker_restarts_total",
      help: "Restarts of workers that exited unexpectedly.",
      value: () => workers.reduce((sum, worker) => sum + worker.restarts(), 0),
    });

    const shared = {
      database: await prepareDatabase(config, onProgress, log, closers),
      jwtSecret: jwtSecret(config, onProgress),
      poolMax: poolMaxPerProcess(config),
      serverId: crypto.randomUUID(),
    };
    const reports = createWorkerReports();
    closers.push(reports.close);
    const timeoutMs = config.shutdownDelayMs + config.shutdownTimeoutMs + config.databaseStatementTimeoutMs + 5_000;
    closers.push(() => Promise.all(workers.map((worker) => worker.stop(timeoutMs))));
    // With PORT=0 the first worker takes a free port, and the others the same.
    const first = superviseWorker(0, { ...shared, port: config.port }, reports, log);
    workers.push(first);
    const url = await first.started;
    const port = Number(new URL(url).port);
    for (let number = 1; number < config.workers; number++) {
      workers.push(superviseWorker(number, { ...shared, port }, reports, log));
    }
    await Promise.all(workers.map(({ started }) => started));
    onProgress(`${config.workers} workers are running`);
    warn(config, log);

    let stopped: Promise<void> | undefined;
    return {
      url,
      metricsUrl: metricsServer?.url.origin,
      mailboxPath: mailboxPath(config, shared.jwtSecret),
      database: shared.database,
      stop() {
        stopped ??= closeAll(closers);
        return stopped;
      },
    };
  } catch (error) {
    await closeAll(closers);
    throw error;
  }
}

type Worker = {
  /** Resolves to the worker's address when it listens for the first time. Rejects if its first start fails. */
  readonly started: Promise<string>;
  isUp(): boolean;
  restarts(): number;
  /** Undefined if the worker is not running, or does not respond in time. */
  metrics(): Promise<MetricsSnapshot | undefined>;
  /** Sends SIGTERM, and SIGKILL after `timeoutMs`. The worker is not started again. */
  stop(timeoutMs: number): Promise<void>;
};

/** Starts a worker, and restarts it whenever it exits, until `stop`. */
function superviseWorker(
  number: number,
  start: Omit<Extract<ToWorker, { type: "start" }>, "type">,
  reports: WorkerReports,
  log: Log,
): Worker {
  const started = Promise.withResolvers<string>();
  // A rejection is not unhandled: `started` is awaited later.
  started.promise.catch(() => {});
  const pendingSnapshots = new Map<number, (snapshot: MetricsSnapshot | undefined) => void>();
  let child: Subprocess;
  let isUp = false;
  let isStopping = false;
  let crashes = 0;
  let restarts = 0;
  let lastRequestId = 0;
  let { port } = start;
  let restartTimer: ReturnType<typeof setTimeout> | undefined;

  function spawn(): void {
    const spawnedAt = performance.now();
    let failure: string | undefined;
    const startTimer = setTimeout(() => child.kill("SIGKILL"), START_TIMEOUT_MS);
    const spawned = Bun.spawn(workerCommand(), {
      env: { ...process.env, [WORKER_VARIABLE]: String(number) },
      stdio: ["ignore", "inherit", "inherit"],
      ipc(message: FromWorker) {
        if (message.type === "started") {
          clearTimeout(startTimer);
          isUp = true;
          port = Number(new URL(message.url).port);
          started.resolve(message.url);
        } else if (message.type === "failed") {
          failure = message.message;
        } else if (message.type === "report") {
          member.receive(message.message);
        } else {
          pendingSnapshots.get(message.requestId)?.(message.snapshot);
        }
      },
      onExit(_child, exitCode, signal) {
        clearTimeout(startTimer);
        isUp = false;
        member.leave();
        for (const resolve of pendingSnapshots.values()) resolve(undefined);
        if (isStopping) return;
        const reason = failure ?? (signal === null ? `exit code ${exitCode}` : `signal ${signal}`);
        // Before the first success the caller gets the reason: a configuration error does not go away by retrying.
        started.reject(new StartupError(failure ?? `Worker ${number} exited during startup (${reason}).`));
        if (performance.now() - spawnedAt > STABLE_AFTER_MS) crashes = 0;
        const delayMs = RESTART_DELAYS_MS[Math.min(crashes++, RESTART_DELAYS_MS.length - 1)] ?? 0;
        log.error({ worker: number, delay_ms: delayMs }, `worker exited unexpectedly (${reason}), starting another`);
        restarts++;
        restartTimer = setTimeout(spawn, delayMs);
      },
    });
    child = spawned;
    const member = reports.join((message) => spawned.send({ type: "report", message } satisfies ToWorker));
    child.send({ type: "start", ...start, port } satisfies ToWorker);
  }
  spawn();
  // First, so that it has ended before PostgreSQL stops. After `stop` there is none.
  process.prependListener("exit", () => child.kill("SIGKILL"));

  return {
    started: started.promise,
    isUp: () => isUp,
    restarts: () => restarts,
    async metrics() {
      if (!isUp) return undefined;
      const requestId = ++lastRequestId;
      const snapshot = Promise.withResolvers<MetricsSnapshot | undefined>();
      pendingSnapshots.set(requestId, snapshot.resolve);
      const timer = setTimeout(snapshot.resolve, METRICS_TIMEOUT_MS, undefined);
      try {
        child.send({ type: "metrics", requestId } satisfies ToWorker);
        return await snapshot.promise;
      } catch {
        // It has just exited.
        return undefined;
      } finally {
        clearTimeout(timer);
        pendingSnapshots.delete(requestId);
      }
    },
    async stop(timeoutMs) {
      isStopping = true;
      clearTimeout(restartTimer);
      const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
      child.kill("SIGTERM");
      await child.exited;
      clearTimeout(timer);
    },
  };
}

/** The command of this program: its file if Bun runs it from source, otherwise the executable. */
function workerCommand(): string[] {
  const isExecutable = Bun.main.startsWith("/$bunfs/");
  // A worker inherits the environment, but flags override it, so it needs them too.
  return [process.execPath, ...(isExecutable ? [] : [Bun.main]), ...process.argv.slice(2)];
}
