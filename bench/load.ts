import { join } from "node:path";
import type { Call } from "./endpoints.ts";
import { wireForm } from "./statements.ts";

export type LoadJob = {
  readonly url: string;
  readonly calls: readonly Call[];
  readonly tokens: ReadonlyMap<string, string>;
  readonly connections: number;
  readonly durationS: number;
  readonly once: boolean;
  /** The number of requests in flight on each connection; one by default. */
  readonly pipelined?: number;
  /** How long each connection pauses after a response on average, in whole milliseconds; not at all by default. Only wrk can. */
  readonly pauseMs?: number;
};

/** Times in milliseconds. `loadCpuUs` is the load generator's own CPU time for a request. */
export type LoadFigures = {
  perS: number;
  p50Ms: number;
  p99Ms: number;
  loadCpuUs: number;
  count: number;
  errors: number;
};

export type LoadGenerator = { readonly name: string; run(job: LoadJob): Promise<LoadFigures> };

/** `wrk` if it is installed: it takes a fifth of the CPU that autocannon takes from the machine under test. */
export function chooseLoadGenerator(name: string | undefined, folder: string): LoadGenerator {
  const chosen = name ?? (Bun.which("wrk") === null ? "autocannon" : "wrk");
  if (chosen === "wrk") return { name: "wrk", run: (job) => runWrk(job, folder) };
  if (chosen === "autocannon") return { name: "autocannon", run: runAutocannon };
  throw new Error(`unknown load generator ${chosen}: choose wrk or autocannon`);
}

type Printed = { count: number; seconds: number; p50Ms: number; p99Ms: number; errors: number };

async function runWrk(job: LoadJob, folder: string): Promise<LoadFigures> {
  const file = join(folder, "wrk-requests");
  const { host } = new URL(job.url);
  await Bun.write(
    file,
    job.calls
      .map((call) => {
        const { headers, body = "" } = wireForm(call, job.tokens);
        const length = call.method === "GET" ? {} : { "Content-Length": String(Buffer.byteLength(body)) };
        const lines = Object.entries({ Host: host, ...headers, ...length }).map(
          ([name, value]) => `${name}: ${value}\r\n`,
        );
        return `${call.method} ${call.path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
      })
      .join("\0"),
  );
  const { connections, durationS, once, url, pipelined = 1, pauseMs = 0 } = job;
  return await run(
    // wrk accepts only whole seconds.
    [
      "wrk",
      "-t1",
      `-c${connections}`,
      `-d${Math.max(Math.round(durationS), 1)}s`,
      "-s",
      join(import.meta.dir, "wrk.lua"),
      url,
      "--",
      file,
      once ? "once" : "again",
      String(pipelined),
      String(pauseMs),
    ],
    "",
    (out) => JSON.parse(/^FIGURES (.+)$/m.exec(out)?.[1] ?? "null"),
  );
}

async function runAutocannon({ calls, tokens, ...job }: LoadJob): Promise<LoadFigures> {
  const requests = calls.map((call) => ({ method: call.method, path: call.path, ...wireForm(call, tokens) }));
  return await run(["node", join(import.meta.dir, "autocannon.mjs")], JSON.stringify({ ...job, requests }), JSON.parse);
}

async function run(command: string[], input: string, read: (out: string) => Printed | null): Promise<LoadFigures> {
  const child = Bun.spawn(command, { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const code = await child.exited;
  const figures = code === 0 ? read(out) : null;
  if (figures === null) throw new Error(`${command[0]} ended with ${code}: ${err || out}`);
  const { count, seconds, p50Ms, p99Ms, errors } = figures;
  const cpuUs = Number(child.resourceUsage()?.cpuTime.total ?? 0);
  return { perS: count / seconds, p50Ms, p99Ms, loadCpuUs: cpuUs / count, count, errors };
}
