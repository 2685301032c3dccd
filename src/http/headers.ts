import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { connectionHeader } from "./connection.ts";

/** A response without any other rule is kept by nobody: not by browsers, and not by caches in between. */
const NOT_CACHED = { "Cache-Control": "no-store" };

/** What a page of another origin may read of an answer, besides the few headers that it always may. */
const EXPOSED = ["ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id"];

/**
 * The headers of every answer, errors included: who may read it across origins, that no browser takes it for another type
 * than it says, that nobody stores it (`json` and pages that are public say otherwise), and how long the connection stays
 * open. They are set before the answer is made, which costs a tenth of changing it afterwards;
 * for the same reason Hono's `cors` is only asked where there is something to decide.
 * @param origins the origins whose pages may call the API, or any
 * @param keepAliveTimeoutMs how long an idle connection stays open
 */
export function answerHeaders(origins: "*" | string[], keepAliveTimeoutMs: number): MiddlewareHandler {
  const preflight = cors({ origin: origins, exposeHeaders: EXPOSED, maxAge: 86_400 });
  const exposed = EXPOSED.join(",");
  return function setAnswerHeaders(c, next) {
    const [name, value] = connectionHeader(c.req.raw, keepAliveTimeoutMs);
    c.header(name, value);
    c.header("X-Content-Type-Options", "nosniff");
    c.header("Cache-Control", NOT_CACHED["Cache-Control"]);
    if (origins !== "*" || c.req.method === "OPTIONS") return preflight(c, next);
    c.header("Access-Control-Allow-Origin", "*");
    c.header("Access-Control-Expose-Headers", exposed);
    return next();
  };
}

/** Headers of a response that must not be stored, and of a page whose URL may contain a token. */
export const PRIVATE_HEADERS = { "Cache-Control": "no-store", "Referrer-Policy": "no-referrer" } as const;

/** The same headers for an answer that is given before there is a route. */
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
