/** Sends GET to a server on this machine. Bun reads `NO_PROXY` at each request, and has no other way around `HTTP_PROXY`. */
export function fetchHere(url: string, timeoutMs: number): Promise<Response> {
  process.env.NO_PROXY = "*";
  process.env.no_proxy = "*";
  return fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(timeoutMs) });
}
