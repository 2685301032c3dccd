import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";

/** What a page of another origin may read of an answer, besides the few headers that it always may. */
const EXPOSED = ["ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id"];

/**
 * The headers of every answer, errors included: who may read it across origins, and that no browser takes it for
 * another type than it says. They are set before the answer is made, which costs a tenth of changing it afterwards;
 * for the same reason Hono's `cors` is only asked where there is something to decide.
 * @param origins the origins whose pages may call the API, or any
 */
export function answerHeaders(origins: "*" | string[]): MiddlewareHandler {
  const preflight = cors({ origin: origins, exposeHeaders: EXPOSED, maxAge: 86_400 });
  const exposed = EXPOSED.join(",");
  return function setAnswerHeaders(c, next) {
    c.header("X-Content-Type-Options", "nosniff");
    if (origins !== "*" || c.req.method === "OPTIONS") return preflight(c, next);
    c.header("Access-Control-Allow-Origin", "*");
    c.header("Access-Control-Expose-Headers", exposed);
    return next();
  };
}

/** Headers of a response that must not be stored, and of a page whose URL may contain a token. */
export const PRIVATE_HEADERS = { "Cache-Control": "no-store", "Referrer-Policy": "no-referrer" } as const;

/** The same headers for an answer that is given before there is a route. */
export function headersBeforeRoutes(origins: "*" | string[], origin: string | null): Record<string, string> {
  const isAllowed = origins === "*" || (origin !== null && origins.includes(origin));
  return {
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Expose-Headers": EXPOSED.join(","),
    ...(isAllowed ? { "Access-Control-Allow-Origin": origins === "*" ? "*" : (origin ?? "") } : {}),
    ...(origins === "*" ? {} : { Vary: "Origin" }),
  };
}
