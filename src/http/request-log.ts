import type { Context } from "hono";
import { routePath } from "hono/route";
import type { Log } from "../observability/log.ts";
import type { Attributes, RequestObserver, RequestSpan, RequestTracer } from "../observability/observers.ts";
import type { FindClient, Peers } from "./client-address.ts";
import { asksToClose, closeConnection } from "./connection.ts";
import type { Exchange } from "./exchange.ts";
import { completeHeaders } from "./responses.ts";

export type RequestOptions = {
  log: Log;
  observer: RequestObserver | undefined;
  tracer: RequestTracer | undefined;
  findClient: FindClient;
  /** Whether the server is stopping: connections close with their responses. */
  isDraining: () => boolean;
  /** The headers of every response. */
  headers: Headers;
};

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** A request id from outside that may go into the log and the response: bounded, without control characters or markup. */
const SAFE_REQUEST_ID = /^[A-Za-z0-9][\w.:=+/-]{0,127}$/;

/** W3C Trace Context, 3.2. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/**
 * Observes every request: it gets an id and a span, and at its end one line in the log and one observation in the metrics.
 * While the server stops, its connection closes. Log and span use the names of OpenTelemetry's semantic conventions. The log
 * does not contain the path, because a path may contain a token or an email address by mistake. This wraps the application,
 * and is no middleware: a response that is ready at once stays so.
 * @param respond runs `enterRoutes` first
 */
export function observeRequests(
  { log, observer, tracer, findClient, isDraining, headers: shared }: RequestOptions,
  respond: (request: Request, exchange: Exchange) => Response | Promise<Response>,
): (request: Request, server?: Peers) => Response | Promise<Response> {
  return function observeRequest(request, server) {
    const started = performance.now();
    const { headers } = request;
    const method = METHODS.has(request.method) ? request.method : "_OTHER";
    const clientAddress = findClient(request, server);
    const span = tracer?.startRequest(headers, attributesBefore(request, method, clientAddress));
    const exchange: Exchange = {
      requestId: requestIdOf(headers),
      traceId: span?.traceId ?? callerTraceId(headers),
      clientAddress,
      shared,
      added: [],
    };

    const end = (response: Response): Response => {
      completeHeaders(response, exchange);
      if (isDraining() || asksToClose(request)) closeConnection(response);
      const { status } = response;
      const c = exchange.context;
      const route = c === undefined ? NO_ROUTE : routeOf(c);
      const durationMs = performance.now() - started;
      observer?.onRequest(method, route, status, durationMs);
      const fields = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "http.response.body.size": exchange.bytes ?? bytesOf(response),
        "http.server.request.duration_ms": Math.round(durationMs * 1000) / 1000,
        "client.address": clientAddress ?? undefined,
        "request.id": exchange.requestId,
        // Null for an anonymous reader.
        "user.id": c?.get("userId") ?? c?.get("viewerId") ?? undefined,
        "token.error": c?.get("tokenError"),
        "error.type": status >= 500 ? String(status) : undefined,
        trace_id: exchange.traceId,
        span_id: span?.spanId,
      };
      if (span !== undefined) endSpan(span, request.method, fields);
      log.info(fields, "request");
      return response;
    };

    const response = span === undefined ? respond(request, exchange) : span.run(() => respond(request, exchange));
    return response instanceof Promise ? response.then(end) : end(response);
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
function callerTraceId(headers: Headers): string | undefined {
  const header = headers.get("traceparent");
  return header === null ? undefined : TRACEPARENT.exec(header)?.[1];
}

/** OpenTelemetry, Semantic conventions for HTTP server spans. Without the query, which may hold anything. */
function attributesBefore(request: Request, method: string, clientAddress: string | null): Attributes {
  // A request that names no host has a URL of a path alone.
  const url = new URL(request.url, "http://localhost");
  return {
    "http.request.method": method,
    "http.request.method_original": method === request.method ? undefined : request.method,
    "url.scheme": url.protocol.slice(0, -1),
    "url.path": url.pathname,
    "server.address": url.hostname,
    "server.port": url.port === "" ? undefined : Number(url.port),
    "client.address": clientAddress ?? undefined,
    "user_agent.original": request.headers.get("user-agent") ?? undefined,
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

function requestIdOf(headers: Headers): string {
  const given = headers.get("X-Request-Id");
  return given !== null && SAFE_REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

/** The size of the response body from its headers; undefined if they do not contain it, as for a page. */
function bytesOf(response: Response): number | undefined {
  if (response.body === null) return 0;
  const length = response.headers.get("content-length");
  return length === null ? undefined : Number(length);
}
