import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { connectionHeader } from "./connection.ts";

/** The rule for a response without another one: neither browsers nor caches in between store it. */
const NOT_CACHED = { "Cache-Control": "no-store" };

/** The response headers that a page of another origin may read, besides those that it always may. */
const EXPOSED = ["ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id"];

/**
 * The headers of every response, errors included: which origins may read it, that browsers must not guess its type, that
 * caches must not store it (`json` and public pages override that), and how long the connection stays open. They are set
 * before the handler creates the response, which takes a tenth of the time of changing it afterwards. For the same reason,
 * Hono's `cors` runs only if there is something to decide.
 * @param origins the origins whose pages may call the API, or any
 * @param keepAliveTimeoutMs how long an idle connection stays open
 */
export function responseHeaders(origins: "*" | string[], keepAliveTimeoutMs: number): MiddlewareHandler {
  const preflight = cors({ origin: origins, exposeHeaders: EXPOSED, maxAge: 86_400 });
  const exposed = EXPOSED.join(",");
  return function setResponseHeaders(c, next) {
    const [name, value] = connectionHeader(c.req.raw, keepAliveTimeoutMs);
    c.header(name, value);
    c.header("X-Content-Type-Options", "nosniff");
    c.header("Cache-Control", NOT_CACHED["Cache-Control"]);
    if (c.req.method === "OPTIONS") return preflight(c, next);
    const origin = origins === "*" ? "*" : origins.find((allowed) => allowed === c.req.header("Origin"));
    if (origin !== undefined) c.header("Access-Control-Allow-Origin", origin);
    if (origins !== "*") c.header("Vary", "Origin", { append: true });
    c.header("Access-Control-Expose-Headers", exposed);
    return next();
  };
}

/** Headers of a response that must not be stored, and of a page whose URL may contain a token. */
export const PRIVATE_HEADERS = { "Cache-Control": "no-store", "Referrer-Policy": "no-referrer" } as const;

/** The same headers, for a response that is sent before routing. */
export function headersBeforeRoutes(
  request: Request,
  origins: "*" | string[],
  keepAliveTimeoutMs: number,
): Record<string, string> {
  const origin = request.headers.get("Origin");
  const isAllowed = origins === "*" || (origin !== null && origins.includes(origin));
  return {
    ...Object.fromEntries([connectionHeader(request, keepAliveTimeoutMs)]),
    ...NOT_CACHED,
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Expose-Headers": EXPOSED.join(","),
    ...(isAllowed ? { "Access-Control-Allow-Origin": origins === "*" ? "*" : (origin ?? "") } : {}),
    ...(origins === "*" ? {} : { Vary: "Origin" }),
  };
}
