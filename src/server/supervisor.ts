import type { Subprocess } from "bun";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import type { Log } from "../observability/log.ts";
import type { MetricsSnapshot } from "../observability/metrics.ts";
import { serveMetrics } from "../observability/metrics-server.ts";
import { warnWithoutMail } from "./mail.ts";
import { closeAll, jwtSecret, prepareDatabase, type RunningServer, requireFreePort, serverLog } from "./server.ts";
import { openMetrics } from "./telemetry.ts";
import { type FromWorker, type ToWorker, WORKER_VARIABLE } from "./worker.ts";

/** Pauses before a crashed worker is started again, by how often it crashed in a row. */
const RESTART_DELAYS_MS = [0, 250, 1_000, 3_000, 10_000, 30_000];
/** A worker that lived this long is not one that crashes at every start. */
const LIVED_LONG_MS = 60_000;
const START_TIMEOUT_MS = 30_000;
/** How long a scrape waits for the metrics of a worker. */
const METRICS_TIMEOUT_MS = 2_000;

/**
 * Several processes on one port, under a supervisor that owns what there is one of: the database, the port of the
 * metrics, the secret. It answers no request itself. A worker that crashes is replaced.
 */
export async function startWorkers(config: Config, onProgress: (message: string) => void): Promise<RunningServer> {
  if (process.platform !== "linux") {
    throw new StartupError("WORKERS needs Linux, where several processes can listen on one port. Use WORKERS=1.");
  }
  const closers: (() => unknown)[] = [];
  try {
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
      help: "Workers that answer requests.",
      value: () => workers.filter((worker) => worker.isUp()).length,
    });
    metrics?.gauge({
      name: "conduit_workers_expected",
      help: "Workers that should answer requests.",
      value: () => config.workers,
    });
    metrics?.counter({
      name: "conduit_worker_restarts_total",
      help: "Workers that had to be replaced.",
      value: () => workers.reduce((sum, worker) => sum + worker.restarts(), 0),
    });

    const shared = {
      database: await prepareDatabase(config, onProgress, log, closers),
      jwtSecret: jwtSecret(config, onProgress),
      // Two at least, so that a slow statement does not hold up all others of its worker.
      poolMax: Math.max(2, Math.ceil(config.databasePoolMax / config.workers)),
    };
    const patienceMs = config.shutdownDelayMs + config.shutdownTimeoutMs + config.databaseStatementTimeoutMs + 5_000;
    closers.push(() => Promise.all(workers.map((worker) => worker.stop(patienceMs))));
    // The first one finds the port, if any will do; the others follow it.
    const first = keepWorker(0, { ...shared, port: config.port }, log);
    workers.push(first);
    const url = await first.started;
    const port = Number(new URL(url).port);
    for (let number = 1; number < config.workers; number++) {
      workers.push(keepWorker(number, { ...shared, port }, log));
    }
    await Promise.all(workers.map(({ started }) => started));
    onProgress(`${config.workers} workers are running`);
    warnWithoutMail(config, log);

    let stopped: Promise<void> | undefined;
    return {
      url,
      metricsUrl: metricsServer?.url.origin,
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
  /** Its address, once it listens for the first time. Rejects where it does not come to that. */
  readonly started: Promise<string>;
  isUp(): boolean;
  restarts(): number;
  /** Undefined where it is not up, or does not answer in time. */
  metrics(): Promise<MetricsSnapshot | undefined>;
  /** SIGTERM, and SIGKILL after `patienceMs`. Not started again. */
  stop(patienceMs: number): Promise<void>;
};

/** Starts a worker, and another in its place whenever it ends, until it is stopped. */
function keepWorker(number: number, start: Omit<Extract<ToWorker, { type: "start" }>, "type">, log: Log): Worker {
  const started = Promise.withResolvers<string>();
  // Whoever awaits it later gets the rejection then.
  started.promise.catch(() => {});
  const answers = new Map<number, (snapshot: MetricsSnapshot | undefined) => void>();
  let child: Subprocess;
  let isUp = false;
  let isStopping = false;
  let crashes = 0;
  let restarts = 0;
  let questions = 0;
  let { port } = start;
  let pause: ReturnType<typeof setTimeout> | undefined;

  function spawn(): void {
    const spawnedAt = performance.now();
    let failure: string | undefined;
    const startTimer = setTimeout(() => child.kill("SIGKILL"), START_TIMEOUT_MS);
    child = Bun.spawn(workerCommand(), {
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
        } else {
          answers.get(message.question)?.(message.snapshot);
        }
      },
      onExit(_child, exitCode, signal) {
        clearTimeout(startTimer);
        isUp = false;
        for (const answer of answers.values()) answer(undefined);
        if (isStopping) return;
        const how = failure ?? (signal === null ? `exit code ${exitCode}` : `signal ${signal}`);
        // Before the first success there is somebody to tell; a fault of the configuration is not mended by trying.
        started.reject(new StartupError(failure ?? `Worker ${number} ended at its start (${how}).`));
        if (performance.now() - spawnedAt > LIVED_LONG_MS) crashes = 0;
        const delayMs = RESTART_DELAYS_MS[Math.min(crashes++, RESTART_DELAYS_MS.length - 1)] ?? 0;
        log.error({ worker: number, delay_ms: delayMs }, `worker ended unexpectedly (${how}); starting another`);
        restarts++;
        pause = setTimeout(spawn, delayMs);
      },
    });
    child.send({ type: "start", ...start, port } satisfies ToWorker);
  }
  spawn();

  return {
    started: started.promise,
    isUp: () => isUp,
    restarts: () => restarts,
    async metrics() {
      if (!isUp) return undefined;
      const question = ++questions;
      const answer = Promise.withResolvers<MetricsSnapshot | undefined>();
      answers.set(question, answer.resolve);
      const timer = setTimeout(answer.resolve, METRICS_TIMEOUT_MS, undefined);
      try {
        child.send({ type: "metrics", question } satisfies ToWorker);
        return await answer.promise;
      } catch {
        // It ended this moment.
        return undefined;
      } finally {
        clearTimeout(timer);
        answers.delete(question);
      }
    },
    async stop(patienceMs) {
      isStopping = true;
      clearTimeout(pause);
      const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
      child.kill("SIGTERM");
      await child.exited;
      clearTimeout(timer);
    },
  };
}

/** This very program: by its file where Bun runs it from source, by itself where it is one executable. */
function workerCommand(): string[] {
  const isExecutable = Bun.main.startsWith("/$bunfs/");
  // The settings are in the environment already; the flags win over it, and so have to come along.
  return [process.execPath, ...(isExecutable ? [] : [Bun.main]), ...process.argv.slice(2)];
}
