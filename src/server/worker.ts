import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import type { MetricsSnapshot } from "../observability/metrics.ts";
import { createOtherWorkers, type FromMember, type ToMember } from "./exchange.ts";
import { serverLog, startServer } from "./server.ts";
import { leaveSignalsToSupervisor, stopOnSignals } from "./signals.ts";
import { openMetrics } from "./telemetry.ts";

/** Set in the environment of a worker to its number. Secrets come through the channel. */
export const WORKER_VARIABLE = "CONDUIT_WORKER";

/** Messages from a supervisor to its worker. */
export type ToWorker =
  | { type: "start"; database: DatabaseAddress; jwtSecret: string; port: number; poolMax: number; serverId: string }
  | { type: "metrics"; requestId: number }
  | { type: "exchange"; message: ToMember };

/** Messages from a worker to its supervisor. */
export type FromWorker =
  | { type: "started"; url: string }
  | { type: "failed"; message: string }
  | { type: "metrics"; requestId: number; snapshot: MetricsSnapshot }
  | { type: "exchange"; message: FromMember };

/**
 * One of several processes on a port: a server that gets its database, port and secret from its supervisor through a
 * private channel. It stops on SIGTERM, and when its supervisor exits.
 */
export async function runWorker(config: Config, number: number): Promise<void> {
  leaveSignalsToSupervisor();
  // Before anything that waits: a message that arrives without a listener is lost.
  const start = Promise.withResolvers<Extract<ToWorker, { type: "start" }>>();
  const metrics = start.promise.then(() => openMetrics(config, { worker: String(number) }));
  const send = (message: FromWorker) => {
    if (process.connected) process.send?.(message);
  };
  const otherWorkers = createOtherWorkers((message) => send({ type: "exchange", message }));
  process.on("message", async (message: ToWorker) => {
    if (message.type === "start") return start.resolve(message);
    if (message.type === "exchange") return otherWorkers.receive(message.message);
    const snapshot = await (await metrics)?.snapshot();
    if (snapshot !== undefined) send({ type: "metrics", requestId: message.requestId, snapshot });
  });
  const stopWithSupervisor = () => process.kill(process.pid, "SIGTERM");
  process.on("disconnect", stopWithSupervisor);
  // It may have exited already.
  if (!process.connected) stopWithSupervisor();
  const log = serverLog(config, { worker: number });

  const { type: _, ...inherited } = await start.promise;
  try {
    const server = await startServer(config, () => {}, {
      ...inherited,
      otherWorkers,
      log,
      metrics: await metrics,
    });
    stopOnSignals(server.stop);
    send({ type: "started", url: server.url });
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    send({ type: "failed", message: error.message });
    process.exit(1);
  }
}
