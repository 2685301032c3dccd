// npm run bench -- search: what searches and suggestions cost. See docs/performance.md.

import { readFileSync } from "node:fs";
import { SQL } from "bun";
import type { DatabaseAddress } from "../src/config/database-address.ts";
import { loadConfig } from "../src/config/settings.ts";
import { connectionOptions, openDatabase } from "../src/db/pool.ts";
import { searchArticles } from "../src/features/articles/search/queries.ts";
import { suggest } from "../src/features/articles/search/suggestions.ts";
import { poolLimits } from "../src/server/server.ts";
import { openDataset } from "./dataset.ts";
import { table } from "./report.ts";

/** Words of the seed, from all of its articles to none, alone and together. */
const QUERIES = [
  "the",
  "chair",
  "stripe",
  "step",
  "say",
  "zymurgy",
  "chair harbour",
  "chair -harbour",
  "chair or step",
  '"the chair"',
  "water along like street the first garden wall",
  "have like than where street your two every",
  "and is the it a in of that",
  "gardning",
];
/** `water` is in no title, but in many descriptions. */
const BEGINNINGS = ["th", "ga", "garden", "water", "the wa", "jhon-smth"];

type Run = {
  readonly name: string;
  readonly run: () => Promise<number>;
  found: number;
  cpuMs: number[];
  timesMs: number[];
};

/** Prints the times of single searches, one after the other, through the server's pool and without its memory. */
export async function search(articles: number, rounds: number): Promise<string> {
  const dataset = await openDataset(articles, (message) => console.error(message));
  try {
    return await searchTimes(dataset.address, rounds);
  } finally {
    await dataset.stop();
  }
}

/** The same for a PostgreSQL on this machine that has articles already. */
export async function searchTimes(address: DatabaseAddress, rounds: number): Promise<string> {
  const sql = new SQL(connectionOptions(address, 1, { statement_timeout: "0" }));
  const db = openDatabase(address, poolLimits(loadConfig({})));
  const cpuMs = async (): Promise<number> => {
    const backends =
      await sql`select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`;
    return backends.reduce((sum: number, { pid }: { pid: number }) => sum + cpuNsOf(pid) / 1e6, 0);
  };
  try {
    const runs: Run[] = [
      ...QUERIES.map((q) => ({
        name: q,
        run: async () => (await searchArticles(db, null, { q, limit: 20, offset: 0, cursor: undefined })).articlesCount,
      })),
      ...BEGINNINGS.map((q) => ({
        name: `suggestions for ${q}`,
        run: async () => {
          const { titles, tags, usernames } = await suggest(db, { q, limit: 5 });
          return titles.length + tags.length + usernames.length;
        },
      })),
    ].map((run) => ({ ...run, found: 0, cpuMs: [], timesMs: [] }));
    // In turns: the machine may slow down for other reasons. The first round fills PostgreSQL's memory.
    for (let round = 0; round <= rounds; round++) {
      for (const one of runs) {
        const [before, start] = [await cpuMs(), performance.now()];
        one.found = await one.run();
        if (round === 0) continue;
        one.timesMs.push(performance.now() - start);
        one.cpuMs.push((await cpuMs()) - before);
      }
    }
    return table(
      ["", "found", "CPU, p50, ms", "p95", "time, p50, ms", "p95"],
      runs.map(({ name, found, cpuMs, timesMs }) => [
        name,
        String(found),
        ...[cpuMs, timesMs].flatMap((values) => [percentile(values, 0.5), percentile(values, 0.95)]),
      ]),
    );
  } finally {
    await db.close(1_000);
    await sql.close({ timeout: 0 });
  }
}

/** The CPU time of a process in nanoseconds: the first number of proc(5)'s schedstat. */
const cpuNsOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]);

const percentile = (values: readonly number[], share: number): string =>
  (values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] as number).toFixed(1);
