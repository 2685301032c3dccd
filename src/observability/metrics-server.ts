import { isIP } from "node:net";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";

/**
 * Serves `/metrics` on a port of its own, away from the public one. A request under a name that is not known here is refused:
 * it may come from a page whose name was made to resolve to this server (DNS rebinding).
 * @param text returns the metrics in Prometheus's text format 0.0.4, at each scrape
 * @throws StartupError if the port is taken
 */
export function serveMetrics(
  {
    metricsHost,
    metricsPort,
    metricsAllowedHosts,
  }: Pick<Config, "metricsHost" | "metricsPort" | "metricsAllowedHosts">,
  text: () => Promise<string>,
): Bun.Server<undefined> {
  const names = new Set(["localhost", metricsHost.toLowerCase(), ...metricsAllowedHosts]);
  const noStore = { "Cache-Control": "no-store" };
  try {
    return Bun.serve({
      hostname: metricsHost,
      port: metricsPort ?? 0,
      async fetch(request) {
        if (!isKnownHost(request.headers.get("Host"), names)) {
          const text = "This host name is not allowed. Add it to METRICS_ALLOWED_HOSTS.\n";
          return new Response(text, { status: 421, headers: noStore });
        }
        if (new URL(request.url, "http://localhost").pathname !== "/metrics") {
          return new Response("The metrics are at /metrics\n", { status: 404, headers: noStore });
        }
        return new Response(await text(), {
          headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8", ...noStore },
        });
      },
    });
  } catch (error) {
    throw new StartupError(
      `Cannot serve metrics on ${metricsHost}:${metricsPort}: ${(error as Error).message}. Choose another METRICS_PORT or METRICS_HOST.`,
    );
  }
}

/** No page on the web has an address or a name without a dot for its own. HTTP/1.0 needs no Host, and browsers do not use it. */
function isKnownHost(header: string | null, names: ReadonlySet<string>): boolean {
  if (header === null) return true;
  const host = header.replace(/:[0-9]*$/, "").toLowerCase();
  return names.has(host) || isIP(host.replace(/^\[|\]$/g, "")) !== 0 || /^[a-z0-9_-]+$/.test(host);
}
