import type { MiddlewareHandler } from "hono";
import { ApiError } from "./errors.ts";

/** Whether the client closes the connection after this response. */
export function asksToClose(request: Request): boolean {
  const connection = request.headers.get("connection");
  return connection !== null && /(?:^|,)\s*close\s*(?:,|$)/i.test(connection);
}

/** Says that the connection closes with this response (RFC 9112, 9.6). Bun closes it, but does not say so. */
export function closeConnection({ headers }: Response): void {
  headers.set("Connection", "close");
  headers.delete("Keep-Alive");
}

/** The value of a Host header: a name, an IPv4 or an IPv6 address, with a port or without (RFC 9110, 7.2). May be empty. */
const HOST = /^(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?$/;

/**
 * Guard for every path: refuses a request with several Host headers, which Bun joins with commas, or a malformed one
 * (RFC 9112, 3.2). A proxy in front may have gone by another of them.
 */
export const validHost: MiddlewareHandler = function checkHost(c, next) {
  const host = c.req.header("Host");
  if (host !== undefined && !HOST.test(host)) throw new ApiError("bad_request", { host: ["is invalid or repeated"] });
  return next();
};
