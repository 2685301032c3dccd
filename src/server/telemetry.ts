import packageJson from "../../package.json" with { type: "json" };
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { hashingState } from "../features/identity/passwords.ts";
import { type QueueState, readQueue } from "../jobs/queue.ts";
import type { OpenMail } from "../mail/open.ts";
import { MAIL_JOB } from "../mail/queue.ts";
import type { Log } from "../observability/log.ts";
import type { Metrics } from "../observability/metrics.ts";
import type { StatementObserver } from "../observability/observers.ts";
import type { Tracing } from "../observability/tracing.ts";

/** The metrics; undefined, and not loaded, unless `METRICS_PORT` is set. */
export async function openMetrics(config: Config, labels: Record<string, string> = {}): Promise<Metrics | undefined> {
  if (config.metricsPort === undefined) return undefined;
  const { createMetrics } = await import("../observability/metrics.ts");
  return createMetrics(packageJson.version, labels);
}

/** The traces; undefined, and the OpenTelemetry SDK not loaded, unless the environment turns them on. */
export async function openTracing(config: Config, log: Log): Promise<Tracing | undefined> {
  if (!isTracingOn(config)) return undefined;
  const { createTracing } = await import("../observability/tracing.ts");
  const protocol = config.tracesProtocol ?? config.otlpProtocol;
  return await createTracing({ protocol, serviceVersion: packageJson.version, log });
}

/** Unlike the SDK, which sends to localhost when nothing is set, this needs an endpoint or `OTEL_TRACES_EXPORTER=otlp`. */
function isTracingOn({ otelDisabled, tracesExporter, tracesEndpoint, otlpEndpoint }: Config): boolean {
  if (otelDisabled || tracesExporter === "none") return false;
  return tracesExporter === "otlp" || tracesEndpoint !== undefined || otlpEndpoint !== undefined;
}

/** The observer of the database pools: metrics, traces, both or neither. */
export function observeStatements(
  metrics: Metrics | undefined,
  tracing: Tracing | undefined,
  address: DatabaseAddress,
): StatementObserver | undefined {
  if (tracing === undefined) return metrics;
  const trace = tracing.statements(address);
  return {
    onStatement(statement, durationMs, error) {
      metrics?.onStatement(statement, durationMs, error);
      trace(statement, durationMs, error);
    },
    onWait: (pool, waitedMs) => metrics?.onWait(pool, waitedMs),
  };
}

/** Records a trace for every mail. */
export function tracedMail(mail: OpenMail, tracing: Tracing | undefined): OpenMail {
  const { transport } = mail;
  if (tracing === undefined || transport === null) return mail;
  const send: typeof transport.send = (message) => tracing.inTrace("send mail", {}, () => transport.send(message));
  return { ...mail, transport: { ...transport, send } };
}

/** A scrape needs the state of the mail queue twice. It is read once. */
const QUEUE_KEPT_MS = 1_000;

/** Adds the metrics of the server and its features. */
export function watchServer(metrics: Metrics, http: Bun.Server<undefined>, db: Database): void {
  metrics.gauge({
    name: "http_requests_in_flight",
    help: "Requests that have no response yet.",
    value: () => http.pendingRequests,
  });
  metrics.gauge({
    name: "password_hashes_in_flight",
    help: "Passwords that are being hashed.",
    value: () => hashingState().running,
  });
  metrics.gauge({
    name: "password_hashes_waiting",
    help: "Passwords that wait to be hashed.",
    value: () => hashingState().waiting,
  });
  let mails: Promise<QueueState | undefined> | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  const readMails = () => {
    if (performance.now() - readAt > QUEUE_KEPT_MS) {
      readAt = performance.now();
      mails = readQueue(db, MAIL_JOB).catch(() => undefined);
    }
    return mails;
  };
  metrics.gauge({
    name: "mail_queue_waiting",
    help: "Emails that are not sent yet.",
    value: async () => (await readMails())?.waiting,
  });
  metrics.gauge({
    name: "mail_queue_oldest_seconds",
    help: "Age of the oldest email that is not sent yet.",
    value: async () => (await readMails())?.oldest_s,
  });
}
