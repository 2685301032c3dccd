import { context, DiagLogLevel, diag, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  diagLogLevelFromString,
  getStringFromEnv,
  setGlobalErrorHandler,
  W3CTraceContextPropagator,
} from "@opentelemetry/core";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Log } from "./log.ts";
import type { Attributes, RequestSpan, RequestTracer, StatementObserver } from "./observers.ts";

export type TracingOptions = {
  /** How spans are encoded, both over HTTP. */
  readonly protocol: "http/protobuf" | "http/json";
  readonly serviceVersion: string;
  readonly log: Log;
};

export type Tracing = RequestTracer & {
  /** Makes a span for every statement that runs within another span. */
  statements(address: DatabaseAddress): StatementObserver["onStatement"];
  /**
   * Runs `work` in a span that begins a trace of its own: for work that no request waits for, such as a job.
   * @throws what `work` throws; the span has its type
   */
  inTrace<Result>(name: string, attributes: Attributes, work: () => Promise<Result>): Promise<Result>;
  /** Sends what is left, within `CLOSE_TIMEOUT_MS`. */
  close(): Promise<void>;
};

const CLOSE_TIMEOUT_MS = 2_000;

/**
 * Traces, sent by the OpenTelemetry SDK in the background. The SDK reads the standard `OTEL_*` variables from the
 * environment itself: the collector's address, headers, sampler, batches and limits. A collector that cannot be reached
 * costs spans and a warning, but fails no request. The SDK keeps its context in a global, so a process has one `Tracing`.
 */
export async function createTracing({ protocol, serviceVersion, log }: TracingOptions): Promise<Tracing> {
  reportProblems(log);
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ "service.name": "conduit", "service.version": serviceVersion }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(await exporterOf(protocol))],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  const tracer = provider.getTracer("conduit", serviceVersion);
  const propagator = new W3CTraceContextPropagator();
  const now = createClock();

  return {
    startRequest(headers, attributes): RequestSpan {
      const caller = propagator.extract(ROOT_CONTEXT, headers, HEADERS);
      const method = String(attributes["http.request.method"]);
      const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes, startTime: now() }, caller);
      const { traceId, spanId } = span.spanContext();
      const within = trace.setSpan(caller, span);
      return {
        traceId,
        spanId,
        run: (work) => context.with(within, work),
        end(name, endAttributes, isFailed) {
          span.updateName(name).setAttributes(endAttributes);
          if (isFailed) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end(now());
        },
      };
    },

    statements(address) {
      // OpenTelemetry, Semantic conventions for PostgreSQL client operations.
      const attributes: Attributes = {
        "db.system.name": "postgresql",
        "db.namespace": address.database,
        "server.address": address.socketPath ?? address.hostname,
        "server.port": address.socketPath === undefined ? address.port : undefined,
      };
      return (statement, durationMs, error) => {
        if (trace.getActiveSpan()?.isRecording() !== true) return;
        const ended = now();
        const span = tracer.startSpan(statement.name, {
          kind: SpanKind.CLIENT,
          startTime: ended - durationMs,
          // The text has numbers where the values go.
          attributes: { ...attributes, "db.query.summary": statement.name, "db.query.text": statement.text },
        });
        if (error !== undefined) {
          const sqlState = sqlStateOf(error);
          span.setAttributes({ "db.response.status_code": sqlState, "error.type": sqlState ?? typeOf(error) });
          span.setStatus({ code: SpanStatusCode.ERROR });
        }
        span.end(ended);
      };
    },

    inTrace(name, attributes, work) {
      const options = { kind: SpanKind.INTERNAL, root: true, attributes, startTime: now() };
      return tracer.startActiveSpan(name, options, async (span) => {
        try {
          return await work();
        } catch (error) {
          span.setAttribute("error.type", typeOf(error)).setStatus({ code: SpanStatusCode.ERROR });
          throw error;
        } finally {
          span.end(now());
        }
      });
    },

    async close() {
      const sent = provider.shutdown().then(
        () => true,
        (error) => log.warn({ err: error }, "cannot send traces"),
      );
      const isInTime = await Promise.race([sent, Bun.sleep(CLOSE_TIMEOUT_MS).then(() => false)]);
      if (isInTime === false) log.warn({}, "cannot send the last traces in time");
      context.disable();
      diag.disable();
    },
  };
}

/** The SDK reports its own problems through globals. Their order in `OTEL_LOG_LEVEL` is the SDK's. */
function reportProblems(log: Log): void {
  const at = (level: "debug" | "info" | "warn") => (message: string) => log[level]({}, `OpenTelemetry: ${message}`);
  const [debug, info, warn] = [at("debug"), at("info"), at("warn")];
  diag.setLogger(
    { verbose: debug, debug, info, warn, error: warn },
    { logLevel: diagLogLevelFromString(getStringFromEnv("OTEL_LOG_LEVEL")) ?? DiagLogLevel.WARN },
  );
  setGlobalErrorHandler((error) => log.warn({ err: error }, "cannot send traces"));
}

async function exporterOf(protocol: TracingOptions["protocol"]): Promise<SpanExporter> {
  const { OTLPTraceExporter } =
    protocol === "http/json"
      ? await import("@opentelemetry/exporter-trace-otlp-http")
      : await import("@opentelemetry/exporter-trace-otlp-proto");
  return new OTLPTraceExporter();
}

const HEADERS = {
  get: (headers: Headers, name: string) => headers.get(name) ?? undefined,
  keys: (headers: Headers) => [...headers.keys()],
};

/** Within this, the two clocks of `createClock` may differ: the system clock has milliseconds. */
const CLOCK_DRIFT_MS = 100;

/**
 * A clock with fractions of milliseconds since 1970. Spans of one trace need them to nest, and the system clock has none;
 * `performance.timeOrigin` has them, but stays behind when the machine sleeps.
 */
function createClock(): () => number {
  let offsetMs = Date.now() - performance.now();
  return () => {
    const driftMs = Date.now() - performance.now() - offsetMs;
    if (Math.abs(driftMs) > CLOCK_DRIFT_MS) offsetMs += driftMs;
    return performance.now() + offsetMs;
  };
}

/** PostgreSQL's code of an error, or of its cause; undefined if the server did not report it. */
function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { errno } = error as { errno?: unknown };
  return typeof errno === "string" ? errno : sqlStateOf(error.cause);
}

const typeOf = (error: unknown): string => (error instanceof Error ? error.name : "_OTHER");
