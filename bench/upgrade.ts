// npm run bench -- upgrade: what a migration does to requests beside a long transaction. See docs/operations/deploy.md.

import { SQL } from "bun";
import { migrations } from "../migrations/index.ts";
import type { DatabaseAddress } from "../src/config/database-address.ts";
import type { Migration } from "../src/db/migration-steps.ts";
import { migrate } from "../src/db/migrations.ts";
import { connectionOptions } from "../src/db/pool.ts";
import { openDataset } from "./dataset.ts";
import { startApp, urlOf } from "./processes.ts";
import { signIn } from "./sign-in.ts";

/** Of each kind, one request after the other. */
const CLIENTS = 4;
/** No request may take longer because of a migration. */
const SLOWEST_MS = 1_000;

/**
 * Reads articles and adds favourites, without memory, while a report's transaction is open and three migrations run: one that
 * locks the table, one that changes its rows in batches, and one that builds an index.
 * @param reportS how long the transaction stays open
 * @returns a table of times
 * @throws Error if a request failed, or one beside the migrations took longer than a second
 */
export async function upgrade(articles: number, reportS: number): Promise<string> {
  const dataset = await openDataset(articles, (message) => console.error(message));
  const closers = [dataset.stop];
  try {
    const address = dataset.address;
    await cleanUp(address);
    const settings = { JWT_SECRET: "the secret of the bench, which is 32 bytes or more", RATE_LIMITS: "off" };
    const app = await startApp({ ...settings, DATABASE_URL: urlOf(address), MEMORY_MAX: "0" });
    closers.push(app.stop);
    const token = (await signIn(app.url, ["reader_1000"])).get("reader_1000") as string;
    const during = (work: () => Promise<unknown>) => timesDuring(app.url, token, work);
    const alone = await during(() => Bun.sleep(5_000));
    const besideReport = await during(() => report(address, reportS));
    let appliedAfterMs = 0;
    const besideBoth = await during(async () => {
      const started = performance.now();
      const reporting = report(address, reportS);
      await Bun.sleep(1_000);
      await migrate(address, [...migrations, ...steps()], 5_000, { onProgress: (line) => console.error(line) });
      appliedAfterMs = performance.now() - started;
      await reporting;
    });
    await cleanUp(address);
    const rows = [
      ["alone", alone],
      [`beside a transaction of ${reportS} s`, besideReport],
      [`beside both, until all were applied after ${(appliedAfterMs / 1000).toFixed(1)} s`, besideBoth],
    ] as const;
    const lines = rows.flatMap(([name, { reads, writes }]) => [
      line(name, "reads", reads),
      line(name, "writes", writes),
    ]);
    const table = `| | | requests | p50, ms | p99, ms | slowest, ms |\n| --- | --- | --- | --- | --- | --- |\n${lines.join("\n")}`;
    const slowest = Math.max(...besideBoth.reads, ...besideBoth.writes);
    if (slowest > SLOWEST_MS)
      throw new Error(`A request took ${slowest.toFixed(0)} ms beside the migrations.\n${table}`);
    return table;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** Steps as they follow the rules of migrations/README.md. */
function steps(): Migration[] {
  const sqls: Pick<Migration, "sql" | "mode">[] = [
    { sql: "alter table articles add column bench_upgrade integer;" },
    {
      mode: "batches",
      sql: `update articles set bench_upgrade = 1
             where id in (select id from articles where bench_upgrade is null limit 500 for update);`,
    },
    { mode: "index", sql: "create index concurrently bench_upgrade_idx on articles (bench_upgrade, id);" },
  ];
  return sqls.map((step, i) => {
    const version = String(migrations.length + 1 + i).padStart(4, "0");
    return { version, file: `${version}_bench.sql`, ...step };
  });
}

async function cleanUp(address: DatabaseAddress): Promise<void> {
  const sql = new SQL(connectionOptions(address, 1, { statement_timeout: "0" }));
  await sql`alter table articles drop column if exists bench_upgrade`;
  await sql`delete from schema_migrations where file like '%bench.sql'`;
  await sql.close();
}

/** What an analyst does: reads the articles, and leaves the transaction open. */
async function report(address: DatabaseAddress, seconds: number): Promise<void> {
  const session = { statement_timeout: "0", idle_in_transaction_session_timeout: "0" };
  const sql = new SQL(connectionOptions(address, 1, session));
  await sql.begin(async (tx) => {
    await tx`select count(*) from articles`;
    await Bun.sleep(seconds * 1000);
  });
  await sql.close();
}

type Times = { readonly reads: number[]; readonly writes: number[] };

async function timesDuring(url: string, token: string, work: () => Promise<unknown>): Promise<Times> {
  let isDone = false;
  const times: Times = { reads: [], writes: [] };
  const response = await fetch(`${url}/api/articles?limit=${CLIENTS}`);
  const { articles } = (await response.json()) as { articles: { slug: string }[] };
  const client = async (into: number[], send: (i: number) => Promise<Response>) => {
    for (let i = 0; !isDone; i++) {
      const started = performance.now();
      const response = await send(i);
      await response.arrayBuffer();
      if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
      into.push(performance.now() - started);
    }
  };
  const headers = { Authorization: `Token ${token}` };
  const clients = articles.flatMap(({ slug }) => [
    client(times.reads, () => fetch(`${url}/api/articles`)),
    client(times.writes, (i) =>
      fetch(`${url}/api/articles/${slug}/favorite`, { method: i % 2 === 0 ? "POST" : "DELETE", headers }),
    ),
  ]);
  const ended = work().finally(() => {
    isDone = true;
  });
  await Promise.all([ended, ...clients]);
  return times;
}

function line(name: string, kind: string, times: number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1);
  return `| ${name} | ${kind} | ${times.length} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`;
}
