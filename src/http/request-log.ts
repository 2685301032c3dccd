import type { Context, MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { Log } from "../observability/log.ts";

/** Told of every request at its end, for metrics. `method` and `route` are from closed sets, whatever clients send. */
export type RequestObserver = {
  onRequest(method: string, route: string, status: number, durationMs: number): void;
};

export type RequestOptions = {
  log: Log;
  observer: RequestObserver | undefined;
  /** Whether the server has been told to stop: connections close with their answers. */
  isDraining: () => boolean;
};

/** What a request carries along for the log. The guards set who asks. */
export type RequestVariables = {
  requestId: string;
  /** Of the answer's body, where known. */
  bytes?: number;
  traceId?: string;
  userId?: string;
  viewerId?: string | null;
  tokenError?: string;
};

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** A request id of somebody else's that may go into our log and answer: bounded, and nothing that a viewer could take for more. */
const SANE_REQUEST_ID = /^[A-Za-z0-9][\w.:=+/-]{0,127}$/;

/** W3C Trace Context, 3.2. */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/;

/**
 * What surrounds every request: its id, one line in the log at its end, its place in the metrics, and the end of the
 * connection where the server stops.
 */
export function observeRequests({ log, observer, isDraining }: RequestOptions): MiddlewareHandler {
  return async function observeRequest(c, next) {
    const started = performance.now();
    const requestId = requestIdOf(c);
    c.set("requestId", requestId);
    c.header("X-Request-Id", requestId);
    await next();
    if (isDraining()) c.res.headers.set("Connection", "close");
    const { status } = c.res;
    const route = routeOf(c);
    const method = METHODS.has(c.req.method) ? c.req.method : "OTHER";
    // Known without waiting where the answer was made by `json()`.
    const bytes = c.get("bytes") ?? bytesOf(c);
    const durationMs = performance.now() - started;
    observer?.onRequest(method, route, status, durationMs);
    const traceId: string | undefined = c.get("traceId") ?? parentOf(c)?.traceId;
    // Set by the guards (auth/guards.ts), null for nobody.
    const userId: string | null | undefined = c.get("userId") ?? c.get("viewerId");
    const tokenError: string | undefined = c.get("tokenError");
    log.info(
      {
        "http.method": method,
        "http.route": route,
        "http.status": status,
        duration_ms: Math.round(durationMs * 1000) / 1000,
        bytes,
        "request.id": requestId,
        // Undefined fields are left out of the line.
        "trace.id": traceId,
        "user.id": userId ?? undefined,
        "token.error": tokenError,
      },
      "request",
    );
  };
}

/** The pattern of the route that a request met; `(none)` for a path that is no route's. */
export function routeOf(c: Context): string {
  // Of the handler that was reached last. More may have matched: /articles/:slug does for /articles/feed.
  const path = routePath(c);
  return path.endsWith("*") ? "(none)" : path;
}

/** Who called us, by the `traceparent` header; undefined where it is absent or malformed. */
export function parentOf(c: Context): { traceId: string; spanId: string; isSampled: boolean } | undefined {
  const header = c.req.header("traceparent");
  if (header === undefined || header.startsWith("ff")) return undefined;
  const [, traceId, spanId, flags] = TRACEPARENT.exec(header) ?? [];
  if (traceId === undefined || spanId === undefined) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags ?? "0", 16) & 1) === 1 };
}

function requestIdOf(c: Context): string {
  const given = c.req.header("X-Request-Id");
  return given !== undefined && SANE_REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

/** The size of the answer's body where it says it; undefined otherwise, as for a page. */
function bytesOf(c: Context): number | undefined {
  if (c.res.body === null) return 0;
  const length = c.res.headers.get("content-length");
  return length === null ? undefined : Number(length);
}
