import type { Context } from "hono";

/**
 * Says that the response depends on who sends the request, so that no shared cache gives it to anybody else. The guards call
 * this, so no route can forget it.
 */
export function dependsOnToken(c: Context): void {
  c.header("Vary", "Authorization", { append: true });
  c.set("isPersonal", true);
}

/**
 * The value of `Cache-Control` with which caches keep a response, and validate it each time: what a write changed is in the
 * very next read. Only the client's own cache keeps one that depends on the client.
 */
export const validatedCaching = (c: Context): string =>
  c.get("isPersonal") === true ? "private, no-cache" : "no-cache";

/**
 * Says that a response was made some time ago and not verified since: `Age` (RFC 9111, 5.1) and `Cache-Status` (RFC 9211).
 * @param ageMs since it was made
 * @param freshMs how long it counts as fresh
 */
export function markStale(c: Context, ageMs: number, freshMs: number): void {
  c.header("Age", String(Math.floor(ageMs / 1000)));
  const ttlS = Math.floor((freshMs - ageMs) / 1000);
  c.header("Cache-Status", `conduit; hit; ttl=${ttlS}; detail="database unavailable"`);
}
