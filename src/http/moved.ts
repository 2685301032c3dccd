import type { Context } from "hono";
import { routeOf } from "./request-log.ts";
import { respond } from "./responses.ts";

/** What was requested has another address now. The response to GET and HEAD is a 308 that leads there. */
export class Moved extends Error {
  override name = "Moved";

  /**
   * @param parameter the part of the route's path that differs, such as `slug`
   * @param value what it is now
   */
  constructor(
    readonly parameter: string,
    readonly value: string,
  ) {
    super(`the ${parameter} is now ${value}`);
  }
}

/**
 * Redirects to the same path with another parameter, below the path of `BASE_URL`, with the same query. No cache keeps it, as
 * the address may change again.
 */
export function respondMoved(c: Context, { parameter, value }: Moved): Response {
  // A request that names no host has a URL of a path alone.
  const { pathname, search } = new URL(c.req.url, "http://localhost");
  const segments = pathname.split("/");
  segments[routeOf(c).split("/").indexOf(`:${parameter}`)] = encodeURIComponent(value);
  const path = segments.join("/").replace(/\/$/, "");
  return respond(c, null, 308, {
    Location: `${c.get("basePath") ?? ""}${path}${search}`,
    "Cache-Control": "no-cache",
  });
}
