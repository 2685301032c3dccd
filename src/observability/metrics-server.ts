import { StartupError } from "../config/startup-error.ts";

/**
 * Serves `/metrics` on a port of its own, away from the public one.
 * @param text returns the metrics in Prometheus's text format 0.0.4, at each scrape
 * @throws StartupError if the port is taken
 */
export function serveMetrics(
  { metricsHost, metricsPort }: { metricsHost: string; metricsPort: number | undefined },
  text: () => Promise<string>,
): Bun.Server<undefined> {
  const noStore = { "Cache-Control": "no-store" };
  try {
    return Bun.serve({
      hostname: metricsHost,
      port: metricsPort ?? 0,
      async fetch(request) {
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
