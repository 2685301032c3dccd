// The limit of the database: the statements of the program, through its own pool, without HTTP. Messages of the parent process choose them.

import "../src/server/app.ts";
import { loadConfig } from "../src/config/settings.ts";
import { openDatabase } from "../src/db/pool.ts";
import { read, type Statement, statements } from "../src/db/statements.ts";
import { poolLimits } from "../src/server/server.ts";
import type { StatementCall } from "./statements.ts";

export type StatementRun = {
  /** Run in this order, and from the beginning again after the last, unless `once`. */
  calls: StatementCall[];
  durationMs: number;
  inFlight: number;
  once: boolean;
};

/** Times in milliseconds; `cpuUs` is this process's own CPU time for a statement. */
export type StatementFigures = {
  perS: number;
  p50Ms: number;
  p99Ms: number;
  cpuUs: number;
  count: number;
  errors: number;
};

export const SELECT_1 = "bench_select_1";
read(SELECT_1, "select 1 as one");

const config = loadConfig(process.env);
if (config.databaseUrl === undefined) throw new Error("DATABASE_URL is not set");
const db = openDatabase(config.databaseUrl, poolLimits(config));

async function run({ calls, durationMs, inFlight, once }: StatementRun): Promise<StatementFigures> {
  const todo = calls.map(([name, parameters]) => ({
    statement: statements.get(name) as Statement<unknown>,
    parameters,
  }));
  const timesMs: number[] = [];
  let next = 0;
  let errors = 0;
  const started = performance.now();
  const cpuBefore = process.cpuUsage();
  const deadline = started + durationMs;
  const worker = async (): Promise<void> => {
    for (;;) {
      const sent = performance.now();
      if (sent > deadline || (once && next >= todo.length)) return;
      const { statement, parameters } = todo[next++ % todo.length] as (typeof todo)[number];
      try {
        await db.rows(statement, parameters);
      } catch {
        errors++;
      }
      timesMs.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (performance.now() - started) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  timesMs.sort((a, b) => a - b);
  const percentile = (part: number): number =>
    timesMs[Math.min(Math.floor(timesMs.length * part), timesMs.length - 1)] ?? 0;
  const count = timesMs.length;
  return {
    perS: count / seconds,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    cpuUs: (cpu.user + cpu.system) / count,
    count,
    errors,
  };
}

process.on("message", async (message: StatementRun) => process.send?.(await run(message)));
process.on("SIGTERM", () => process.exit(0));
process.on("disconnect", () => process.exit(0));
