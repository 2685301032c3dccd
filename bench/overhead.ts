// npm run bench -- overhead: the CPU that a request costs besides its work. See docs/decisions/0027-overhead.md.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Payload } from "./bare-server.ts";
import { openDataset } from "./dataset.ts";
import { chooseLoadGenerator } from "./load.ts";
import { cpuOf, startApp, startResponder, urlOf } from "./processes.ts";
import { median, table, whole } from "./report.ts";

const CALLS = [{ method: "GET", path: "/health/live" }];

type Server = { readonly name: string; readonly url: string; readonly pid: number };

/**
 * Prints the throughput and CPU of `/health/live`, which does nothing, by this server and by a bare `Bun.serve`. They are
 * loaded in turns, for the machine may slow down for other reasons.
 */
export async function overhead(
  articles: number,
  rounds: number,
  seconds: number,
  connections: number,
  generator: string | undefined,
): Promise<string> {
  const say = (message: string) => console.error(message);
  const folder = join(import.meta.dir, ".data");
  mkdirSync(folder, { recursive: true });
  const load = chooseLoadGenerator(generator, folder);
  const dataset = await openDataset(articles, say);
  const closers = [dataset.stop];
  try {
    const settings = {
      DATABASE_URL: urlOf(dataset.address),
      JWT_SECRET: "the secret of the bench, which is 32 bytes or more",
    };
    const app = await startApp({ ...settings, METRICS_PORT: "0" });
    closers.push(app.stop);
    const silent = await startApp({ ...settings, LOG_LEVEL: "silent" });
    closers.push(silent.stop);
    const bare = startResponder<Payload, string>("bare-server.ts", {});
    closers.push(bare.stop);
    const servers: Server[] = [
      {
        name: "bare Bun.serve",
        url: await bare.send({ status: 200, contentType: "application/json", body: '{"status":"ok"}' }),
        pid: bare.pid,
      },
      { name: "without log and metrics", ...silent },
      { name: "as in production", ...app },
    ];
    const figures = servers.map((): { perS: number[]; cpuUs: number[] } => ({ perS: [], cpuUs: [] }));
    // The first round compiles what is called often, and does not count.
    for (let round = 0; round <= rounds; round++) {
      say(`round ${round} of ${rounds}`);
      for (const [i, { url, pid }] of servers.entries()) {
        const before = cpuOf(pid);
        const job = { url, calls: CALLS, tokens: new Map(), connections, durationS: seconds, once: false };
        const { perS, count } = await load.run(job);
        if (round === 0) continue;
        figures[i]?.perS.push(perS);
        figures[i]?.cpuUs.push(((cpuOf(pid) - before) * 1e6) / count);
      }
    }
    const bareUs = median(figures[0]?.cpuUs ?? []);
    const rows = servers.map(({ name }, i) => {
      const { perS = [], cpuUs = [] } = figures[i] ?? {};
      return [name, whole(median(perS)), median(cpuUs).toFixed(1), (median(cpuUs) / bareUs).toFixed(2)];
    });
    return table(["GET /health/live", "req/s", "CPU µs", "of bare"], rows);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}
