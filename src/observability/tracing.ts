import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import type { DatabaseAddress } from "../config/database-address.ts";
import { sqlState } from "../db/errors.ts";
import type { Database } from "../db/pool.ts";
import type { Statement } from "../db/statements.ts";
import { parentOf, routeOf } from "../http/request-log.ts";
import type { Log } from "./log.ts";

export type TracingOptions = {
  /** Of an OTLP receiver over HTTP, as `http://localhost:4318`; the spans go to its `/v1/traces`. */
  readonly endpoint: string;
  /** Sent along, as a receiver may ask for a key. */
  readonly headers: Record<string, string>;
  readonly serviceName: string;
  readonly serviceVersion: string;
  /** The share of traces that begin here which are recorded, from 0 to 1. Others' traces are as others decided. */
  readonly ratio: number;
  readonly log: Log;
};

export type Attributes = Record<string, string | number | boolean | undefined>;

/** OpenTelemetry's kinds of spans, as OTLP numbers them (opentelemetry-proto, trace.proto). */
export const SPAN_KIND = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 } as const;

/** A span under way. What is added to it before its end is sent with it. */
export type Span = { readonly traceId: string; readonly spanId: string; name: string; attributes: Attributes };

export type Tracing = {
  /** Gives every request a span, in the caller's trace if it has one. */
  middleware: MiddlewareHandler;
  /** A database whose statements have spans in those of their requests. */
  database(db: Database, address: DatabaseAddress): Database;
  /** Runs something within a span, a child of the one it is called in; without one, where the trace is not recorded, just runs it. */
  inSpan<Result>(
    name: string,
    kind: keyof typeof SPAN_KIND,
    attributes: Attributes,
    run: (span: Span | undefined) => Promise<Result>,
  ): Promise<Result>;
  /** As `inSpan`, at the beginning of a trace of its own. */
  inTrace: Tracing["inSpan"];
  /** Sends what is left. */
  close(): Promise<void>;
};

/** An attribute in OTLP's JSON; 64-bit numbers are decimal texts. */
type KeyValue = {
  key: string;
  value: { stringValue: string } | { boolValue: boolean } | { intValue: string } | { doubleValue: number };
};

/** A span at its end, in OTLP's JSON (opentelemetry-proto, trace.proto; ids in hexadecimal, times in nanoseconds). */
type EndedSpan = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: KeyValue[];
  status: { code?: number };
};

const SEND_EVERY_MS = 1_000;
const SEND_TIMEOUT_MS = 10_000;
const BATCH_MAX = 512;
/** What waits to be sent where the receiver is away; more is dropped. */
const KEPT_MAX = 4_096;
const STATUS_ERROR = 2;

/** Traces, sent to an OTLP receiver in the background. Why it is our own: docs/decisions/0011-telemetry.md. */
export function createTracing(options: TracingOptions): Tracing {
  const current = new AsyncLocalStorage<Span>();
  const sender = createSender(options);

  function end(span: Span, parentSpanId: string | undefined, kind: number, started: number, failed: boolean): void {
    sender.add({
      traceId: span.traceId,
      spanId: span.spanId,
      ...(parentSpanId === undefined ? {} : { parentSpanId }),
      name: span.name,
      kind,
      startTimeUnixNano: unixNanos(started),
      endTimeUnixNano: unixNanos(performance.now()),
      attributes: keyValues(span.attributes),
      status: failed ? { code: STATUS_ERROR } : {},
    });
  }

  async function run<Result>(
    span: Span,
    parentSpanId: string | undefined,
    kind: keyof typeof SPAN_KIND,
    within: (span: Span) => Promise<Result>,
  ): Promise<Result> {
    const started = performance.now();
    let failed = true;
    try {
      const result = await current.run(span, () => within(span));
      failed = false;
      return result;
    } catch (error) {
      span.attributes["error.type"] ??= error instanceof Error ? error.name : "_OTHER";
      throw error;
    } finally {
      end(span, parentSpanId, SPAN_KIND[kind], started, failed);
    }
  }

  const inSpan: Tracing["inSpan"] = async (name, kind, attributes, within) => {
    const parent = current.getStore();
    if (parent === undefined) return await within(undefined);
    return await run({ traceId: parent.traceId, spanId: newId(8), name, attributes }, parent.spanId, kind, within);
  };

  const inTrace: Tracing["inSpan"] = async (name, kind, attributes, within) => {
    const traceId = newId(16);
    if (!isWithin(options.ratio, traceId)) return await within(undefined);
    return await run({ traceId, spanId: newId(8), name, attributes }, undefined, kind, within);
  };

  return {
    inSpan,
    inTrace,

    async middleware(c, next) {
      const parent = parentOf(c);
      const traceId = parent?.traceId ?? newId(16);
      c.set("traceId", traceId);
      if (!(parent?.isSampled ?? isWithin(options.ratio, traceId))) return await next();
      // Without a host where the request names none.
      const url = new URL(c.req.url, "http://localhost");
      // OpenTelemetry, Semantic conventions for HTTP spans. No query: it may hold anything.
      const attributes: Attributes = {
        "http.request.method": c.req.method,
        "url.scheme": url.protocol.slice(0, -1),
        "url.path": url.pathname,
        "server.address": url.hostname,
      };
      const span: Span = { traceId, spanId: newId(8), name: c.req.method, attributes };
      const started = performance.now();
      await current.run(span, next);
      const { status } = c.res;
      const route = routeOf(c);
      if (!route.startsWith("(")) {
        span.name = `${c.req.method} ${route}`;
        attributes["http.route"] = route;
      }
      attributes["http.response.status_code"] = status;
      attributes["conduit.request.id"] = c.get("requestId");
      if (status >= 500) attributes["error.type"] = String(status);
      end(span, parent?.spanId, SPAN_KIND.server, started, status >= 500);
    },

    database(db, address) {
      async function rows<Row>(statement: Statement<Row>, parameters: Parameters<Database["rows"]>[1]): Promise<Row[]> {
        if (current.getStore() === undefined) return await db.rows(statement, parameters);
        // OpenTelemetry, Semantic conventions for PostgreSQL. The text has numbers where the values go.
        const attributes: Attributes = {
          "db.system.name": "postgresql",
          "db.namespace": address.database,
          "db.query.summary": statement.name,
          "db.query.text": statement.text,
          "server.address": address.socketPath ?? address.hostname,
          "server.port": address.socketPath === undefined ? address.port : undefined,
        };
        return await inSpan(statement.name, "client", attributes, async () => {
          try {
            return await db.rows(statement, parameters);
          } catch (error) {
            attributes["db.response.status_code"] = sqlState(error);
            throw error;
          }
        });
      }
      return { ...db, rows, row: async (statement, parameters) => (await rows(statement, parameters))[0] };
    },

    close: sender.close,
  };
}

/** Sends spans in batches, in the background; a receiver that is away costs spans, and nothing else. */
function createSender({ endpoint, headers, serviceName, serviceVersion, log }: TracingOptions) {
  const url = `${endpoint.replace(/\/+$/, "")}/v1/traces`;
  const resource = { attributes: keyValues({ "service.name": serviceName, "service.version": serviceVersion }) };
  const scope = { name: "conduit", version: serviceVersion };
  let waiting: EndedSpan[] = [];
  let dropped = 0;
  let sending: Promise<void> | undefined;
  const timer = setInterval(send, SEND_EVERY_MS);
  timer.unref();

  function send(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = undefined;
    });
    return sending;
  }

  async function sendAll(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, BATCH_MAX);
      waiting = waiting.slice(BATCH_MAX);
      try {
        const answer = await fetch(url, {
          method: "POST",
          headers: { "Content-Type": "application/json", ...headers },
          body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope, spans: batch }] }] }),
          signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
        });
        await answer.arrayBuffer();
        if (!answer.ok) throw new Error(`the receiver answered ${answer.status}`);
      } catch (error) {
        dropped += batch.length;
        log.warn({ err: error, "spans.dropped": dropped }, "cannot send traces");
        return;
      }
    }
  }

  return {
    add(span: EndedSpan): void {
      if (waiting.length >= KEPT_MAX) dropped++;
      else if (waiting.push(span) === BATCH_MAX) void send();
    },
    async close(): Promise<void> {
      clearInterval(timer);
      await send();
      // What came while a batch was on its way.
      await send();
    },
  };
}

function keyValues(attributes: Attributes): KeyValue[] {
  return Object.entries(attributes).flatMap(([key, value]): KeyValue[] => {
    if (value === undefined) return [];
    if (typeof value === "string") return [{ key, value: { stringValue: value } }];
    if (typeof value === "boolean") return [{ key, value: { boolValue: value } }];
    return [{ key, value: Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value } }];
  });
}

/** Not all zeros, which no id may be. */
function newId(bytes: number): string {
  const id = randomBytes(bytes).toString("hex");
  return /^0+$/.test(id) ? newId(bytes) : id;
}

/** As `TraceIdRatioBased` does: the same trace is in or out wherever it is asked. */
function isWithin(ratio: number, traceId: string): boolean {
  return Number.parseInt(traceId.slice(-8), 16) < ratio * 0x1_0000_0000;
}

/** Nanoseconds since 1970 as a decimal number, of a moment of `performance.now()`. */
function unixNanos(moment: number): string {
  const ms = performance.timeOrigin + moment;
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, "0")}`;
}
