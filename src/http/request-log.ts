import type { Context, MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { Log } from "../observability/log.ts";
import type { Attributes, RequestObserver, RequestSpan, RequestTracer } from "../observability/observers.ts";
import type { ClientAddress } from "./client-address.ts";

export type RequestOptions = {
  log: Log;
  observer: RequestObserver | undefined;
  tracer: RequestTracer | undefined;
  addressOf: ClientAddress;
  /** Whether the server is stopping: connections close with their responses. */
  isDraining: () => boolean;
};

/** What the log contains about a request besides its method, route and status. The guards set the user. */
export type RequestVariables = {
  requestId: string;
  /** The path of `BASE_URL`, such as `/conduit`; undefined if it has none. */
  basePath?: string;
  /** Size of the response body, where known. */
  bytes?: number;
  traceId?: string;
  userId?: string;
  viewerId?: string | null;
  tokenError?: string;
};

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** A request id from outside that may go into the log and the response: bounded, without control characters or markup. */
const SAFE_REQUEST_ID = /^[A-Za-z0-9][\w.:=+/-]{0,127}$/;

/** W3C Trace Context, 3.2. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/**
 * Observes every request: it gets an id and a span, and at its end one line in the log and one observation in the metrics.
 * While the server stops, its connection closes. Log and span use the names of OpenTelemetry's semantic conventions. The log
 * does not contain the path, because a path may contain a token or an email address by mistake.
 */
export function observeRequests(options: RequestOptions): MiddlewareHandler {
  const { log, observer, tracer, addressOf, isDraining } = options;

  return async function observeRequest(c, next) {
    const started = performance.now();
    const requestId = requestIdOf(c);
    c.set("requestId", requestId);
    c.header("X-Request-Id", requestId);
    const method = METHODS.has(c.req.method) ? c.req.method : "_OTHER";
    const address = addressOf(c) ?? undefined;

    const span = tracer?.startRequest(c.req.raw.headers, attributesBefore(c, method, address));
    const traceId = span?.traceId ?? callerTraceId(c);
    c.set("traceId", traceId);
    await (span === undefined ? next() : span.run(next));

    if (isDraining()) {
      c.res.headers.set("Connection", "close");
      c.res.headers.delete("Keep-Alive");
    }
    const { status } = c.res;
    const route = routeOf(c);
    const durationMs = performance.now() - started;
    observer?.onRequest(method, route, status, durationMs);
    const fields = {
      "http.request.method": method,
      "http.route": route,
      "http.response.status_code": status,
      // Known without waiting if the body was made by `json()`.
      "http.response.body.size": c.get("bytes") ?? bytesOf(c),
      "http.server.request.duration_ms": Math.round(durationMs * 1000) / 1000,
      "client.address": address,
      "request.id": requestId,
      // Null for an anonymous reader.
      "user.id": c.get("userId") ?? c.get("viewerId") ?? undefined,
      "token.error": c.get("tokenError"),
      "error.type": status >= 500 ? String(status) : undefined,
      trace_id: traceId,
      span_id: span?.spanId,
    };
    if (span !== undefined) endSpan(span, c.req.method, fields);
    log.info(fields, "request");
  };
}

/** The pattern of the route that handled a request; `(none)` for a path that belongs to no route. */
export function routeOf(c: Context): string {
  // The route of the last handler that ran. Others may match too: /articles/:slug matches /articles/feed.
  const path = routePath(c);
  return path.endsWith("*") ? NO_ROUTE : path;
}

const NO_ROUTE = "(none)";

/** The trace of the caller, from its `traceparent` header; undefined if that is missing or malformed. */
function callerTraceId(c: Context): string | undefined {
  const header = c.req.header("traceparent");
  return header === undefined ? undefined : TRACEPARENT.exec(header)?.[1];
}

/** OpenTelemetry, Semantic conventions for HTTP server spans. Without the query, which may hold anything. */
function attributesBefore(c: Context, method: string, address: string | undefined): Attributes {
  // A request that names no host has a URL of a path alone.
  const url = new URL(c.req.url, "http://localhost");
  return {
    "http.request.method": method,
    "http.request.method_original": method === c.req.method ? undefined : c.req.method,
    "url.scheme": url.protocol.slice(0, -1),
    "url.path": url.pathname,
    "server.address": url.hostname,
    "server.port": url.port === "" ? undefined : Number(url.port),
    "client.address": address,
    "user_agent.original": c.req.header("user-agent"),
  };
}

type Fields = Attributes & { "http.request.method": string; "http.route": string };

/** Ends a span with the fields of the log, except ids and times, which the span has already. */
function endSpan(span: RequestSpan, method: string, fields: Fields): void {
  const { trace_id, span_id, "http.server.request.duration_ms": _, ...attributes } = fields;
  const route = fields["http.route"] === NO_ROUTE ? undefined : fields["http.route"];
  const known = fields["http.request.method"] === method ? method : "HTTP";
  const isFailed = fields["error.type"] !== undefined;
  span.end(route === undefined ? known : `${known} ${route}`, { ...attributes, "http.route": route }, isFailed);
}

function requestIdOf(c: Context): string {
  const given = c.req.header("X-Request-Id");
  return given !== undefined && SAFE_REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

/** The size of the response body from its headers; undefined if they do not contain it, as for a page. */
function bytesOf(c: Context): number | undefined {
  if (c.res.body === null) return 0;
  const length = c.res.headers.get("content-length");
  return length === null ? undefined : Number(length);
}
