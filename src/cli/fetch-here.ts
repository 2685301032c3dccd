import { isIPv6 } from "node:net";
import type { Config } from "../config/settings.ts";

/** The URL of a path of the server with this configuration, for a client on this machine. */
export function urlHere({ host, port }: Pick<Config, "host" | "port">, path: string): string {
  const address = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${isIPv6(address) ? `[${address}]` : address}:${port}${path}`;
}

/** Sends GET to a server on this machine. Bun reads `NO_PROXY` at each request, and has no other way around `HTTP_PROXY`. */
export function fetchHere(url: string, timeoutMs: number): Promise<Response> {
  process.env.NO_PROXY = "*";
  process.env.no_proxy = "*";
  return fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(timeoutMs) });
}
