import { isIP, isIPv4 } from "node:net";
import type { Context } from "hono";
import { networkList } from "../config/networks.ts";

/** The part of Bun's server that knows the peer of a connection. */
export type Peers = { requestIP(request: Request): { address: string } | null };

/** Finds the address of the client of a request; null where it is unknown, as on a Unix socket. */
export type FindClient = (request: Request, server: Peers | undefined) => string | null;

/** The same address, in a route. */
export type ClientAddress = (c: Context) => string | null;

/**
 * Returns a function that finds the client's address. `X-Forwarded-For` counts only where a trusted proxy wrote it. It is
 * read from its end, because each proxy appends the address of its peer: the first address that is not a trusted proxy is
 * the client. The client may have invented everything before it.
 */
export function clientAddress(trustedProxies: readonly string[]): FindClient {
  const trusted = networkList(trustedProxies);
  const isTrusted = (address: string) => trusted.check(address, isIPv4(address) ? "ipv4" : "ipv6");
  return (request, server) => {
    const peer = server?.requestIP(request)?.address;
    if (peer === undefined) return null;
    let client = plain(peer);
    if (trustedProxies.length === 0) return client;
    const forwarded = (request.headers.get("X-Forwarded-For") ?? "").split(",").map((part) => plain(part.trim()));
    for (let hop = forwarded.pop(); hop !== undefined && isTrusted(client); hop = forwarded.pop()) {
      // Not an address: the proxy before it is the last known one.
      if (isIP(hop) === 0) break;
      client = hop;
    }
    return client;
  };
}

/**
 * IPv4 in its own form where it came as IPv6 (`::ffff:192.0.2.1`, RFC 4291, 2.5.5.2), or with a port, or in brackets. IPv6
 * without its zone (`fe80::1%eth0`, RFC 4007, 11), which means something to its own machine alone.
 */
function plain(address: string): string {
  if (/^[0-9.]+$/.test(address)) return address;
  const bare = address.replace(/^\[(.*)\](?::[0-9]+)?$/, "$1").replace(/^([0-9.]+):[0-9]+$/, "$1");
  return bare.replace(/%.*$/, "").replace(/^::ffff:(?=[0-9.]+$)/i, "");
}
