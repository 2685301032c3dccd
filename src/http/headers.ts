import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";

/** The response headers that a page of another origin may read, besides those that it always may. */
const EXPOSED = [
  "ETag",
  "Idempotent-Replayed",
  "Link",
  "RateLimit",
  "RateLimit-Policy",
  "Retry-After",
  "WWW-Authenticate",
  "X-Request-Id",
];

/** The origins whose pages may call the API: any, or these. */
type Origins = "*" | readonly string[];

/**
 * The headers of every response, errors included: that browsers must not guess its type, that neither they nor caches in
 * between store it (`json` and public pages override that), which origins may read it, and how long an idle connection stays
 * open (RFC 2068, 19.7.1.1).
 */
export function sharedHeaders(origins: Origins, keepAliveTimeoutMs: number): Headers {
  return new Headers({
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    ...(origins === "*" ? { "Access-Control-Allow-Origin": "*" } : {}),
    "Access-Control-Expose-Headers": EXPOSED.join(","),
    "Keep-Alive": `timeout=${Math.floor(keepAliveTimeoutMs / 1000)}`,
  });
}

/** The headers that depend on the origin of a request. None if any origin is allowed. */
export function originHeaders(request: Request, origins: Origins): Record<string, string> {
  if (origins === "*") return {};
  const origin = request.headers.get("Origin");
  const isAllowed = origin !== null && origins.includes(origin);
  return { Vary: "Origin", ...(isAllowed ? { "Access-Control-Allow-Origin": origin } : {}) };
}

/** Middleware that lets pages of these origins read responses, and responds to the requests with which browsers ask first. */
export function crossOrigin(origins: Origins): MiddlewareHandler {
  const preflight = cors({ origin: origins === "*" ? "*" : [...origins], exposeHeaders: EXPOSED, maxAge: 86_400 });
  return function allowOrigin(c, next) {
    if (c.req.method === "OPTIONS") return preflight(c, next);
    const headers = originHeaders(c.req.raw, origins);
    for (const name in headers) c.header(name, headers[name], { append: true });
    return next();
  };
}

/** Headers of a response that must not be stored, and of a page whose URL may contain a token. */
export const PRIVATE_HEADERS = { "Cache-Control": "no-store", "Referrer-Policy": "no-referrer" } as const;
