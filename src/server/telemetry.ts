import packageJson from "../../package.json" with { type: "json" };
import type { Config } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { hashingState } from "../features/identity/passwords.ts";
import { type OutboxState, readOutbox } from "../mail/queries.ts";
import type { Log } from "../observability/log.ts";
import type { Metrics } from "../observability/metrics.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { Mail } from "./mail.ts";

/** The metrics, if they are wanted: otherwise not even loaded. */
export async function openMetrics(config: Config, labels: Record<string, string> = {}): Promise<Metrics | undefined> {
  if (config.metricsPort === undefined) return undefined;
  const { createMetrics } = await import("../observability/metrics.ts");
  return createMetrics(packageJson.version, labels);
}

/** The traces, if they are wanted: otherwise not even loaded. */
export async function openTracing(config: Config, log: Log): Promise<Tracing | undefined> {
  if (config.tracesEndpoint === undefined) return undefined;
  const { createTracing } = await import("../observability/tracing.ts");
  return createTracing({
    endpoint: config.tracesEndpoint,
    headers: JSON.parse(config.tracesHeaders?.reveal() ?? "{}"),
    serviceName: config.tracesServiceName,
    serviceVersion: packageJson.version,
    ratio: config.tracesRatio,
    log,
  });
}

/** Gives every mail that is sent a trace. */
export function tracedMail(mail: Mail, tracing: Tracing | undefined): Mail {
  const { transport } = mail;
  if (tracing === undefined || transport === null) return mail;
  const send: typeof transport.send = (message) =>
    tracing.inTrace("send mail", "client", { "messaging.operation.type": "send" }, () => transport.send(message));
  return { ...mail, transport: { ...transport, send } };
}

/** How long what the outbox said is taken for true: a scrape asks for it twice over. */
const OUTBOX_KEPT_MS = 1_000;

/** Adds what the server and its features know of themselves. */
export function watchServer(metrics: Metrics, http: Bun.Server<undefined>, db: Database): void {
  metrics.gauge({
    name: "http_requests_under_way",
    help: "Requests that have arrived and are not answered yet.",
    value: () => http.pendingRequests,
  });
  metrics.gauge({
    name: "password_hashes_under_way",
    help: "Passwords that are being hashed.",
    value: () => hashingState().running,
  });
  metrics.gauge({
    name: "password_hashes_waiting",
    help: "Passwords that wait for their turn to be hashed.",
    value: () => hashingState().waiting,
  });
  let outbox: Promise<OutboxState | undefined> | undefined;
  let asked = Number.NEGATIVE_INFINITY;
  const ask = () => {
    if (performance.now() - asked > OUTBOX_KEPT_MS) {
      asked = performance.now();
      outbox = readOutbox(db).catch(() => undefined);
    }
    return outbox;
  };
  metrics.gauge({
    name: "mail_outbox_waiting",
    help: "Mails that are not sent yet.",
    value: async () => (await ask())?.waiting,
  });
  metrics.gauge({
    name: "mail_outbox_oldest_seconds",
    help: "Age of the oldest mail that is not sent yet.",
    value: async () => (await ask())?.oldest_s,
  });
}
