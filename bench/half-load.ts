// npm run bench -- half: how long reads from memory take when the server has time. See docs/performance.md.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openDataset } from "./dataset.ts";
import { ENDPOINTS } from "./endpoints.ts";
import { chooseLoadGenerator } from "./load.ts";
import { startApp, urlOf } from "./processes.ts";
import { median, table, whole } from "./report.ts";

const NAMES = ["list", "list by tag, popular", "article", "comments (20)", "profile", "tags"];

/** At full load, each has a request in flight without pause. */
const FULL_CONNECTIONS = 32;
/** At half load, they pause. wrk pauses for whole milliseconds, so there must be many. */
const HALF_CONNECTIONS = 256;

/** Prints the throughput of reads that anybody makes, and the 50th and 99th percentile of their times at half of it. */
export async function halfLoad(articles: number, rounds: number, seconds: number): Promise<string> {
  const say = (message: string) => console.error(message);
  const folder = join(import.meta.dir, ".data");
  mkdirSync(folder, { recursive: true });
  const load = chooseLoadGenerator("wrk", folder);
  const dataset = await openDataset(articles, say);
  const closers = [dataset.stop];
  try {
    const app = await startApp({
      DATABASE_URL: urlOf(dataset.address),
      JWT_SECRET: "the secret of the bench, which is 32 bytes or more",
      RATE_LIMITS: "off",
      METRICS_PORT: "0",
    });
    closers.push(app.stop);
    const rows: string[][] = [];
    for (const { name, calls } of ENDPOINTS.filter((endpoint) => NAMES.includes(endpoint.name))) {
      const job = { url: app.url, calls: calls(dataset.sample, ""), tokens: new Map(), once: false };
      const full: number[] = [];
      const half: { perS: number; p50Ms: number; p99Ms: number }[] = [];
      // The first round fills the memory, and does not count.
      for (let round = 0; round <= rounds; round++) {
        say(`${name}, round ${round} of ${rounds}`);
        const { perS } = await load.run({ ...job, connections: FULL_CONNECTIONS, durationS: seconds });
        const pauseMs = Math.max(Math.round(HALF_CONNECTIONS / (perS / 2 / 1_000)), 1);
        const atHalf = await load.run({ ...job, connections: HALF_CONNECTIONS, durationS: seconds, pauseMs });
        if (round === 0) continue;
        full.push(perS);
        half.push(atHalf);
      }
      const of = (figure: "perS" | "p50Ms" | "p99Ms") => median(half.map((one) => one[figure]));
      rows.push([name, whole(median(full)), whole(of("perS")), of("p50Ms").toFixed(2), of("p99Ms").toFixed(2)]);
    }
    return table(["read", "full, req/s", "half, req/s", "p50, ms", "p99, ms"], rows);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}
