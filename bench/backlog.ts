// How the clean-up copes with a backlog: node_modules/.bin/bun bench/backlog.ts [ROWS], a million by default. It starts a
// server and fills its tables with expired rows, runs the clean-up next to requests, and prints how long each took.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { loadConfig } from "../src/config/settings.ts";
import { connectionOptions, openDatabase } from "../src/db/pool.ts";
import { cleanUp } from "../src/jobs/clean-up.ts";
import { purges } from "../src/server/jobs.ts";
import { poolLimits, startServer } from "../src/server/server.ts";

/** Adds so many rows of each kind that have expired, or are too many. */
export async function fillBacklog(sql: SQL, rows: number): Promise<void> {
  await sql`select graphile_worker.add_job('backlog')`;
  await sql
    .unsafe(
      `insert into users (username, username_key, username_skeleton, email, email_key, password_hash)
       values ('backlog', 'backlog', 'backlog', 'backlog@example.com', 'backlog@example.com', 'x') on conflict do nothing;
       insert into sessions (user_id, device, family_hash, current_hash, expires_at, access_expires_at)
       select (select id from users where username = 'backlog'), 'a device', sha256(i::text::bytea), sha256(i::text::bytea),
              now() - i * interval '1 second' - interval '1 day', now() - interval '1 day'
         from generate_series(1, ${rows}) as i;
       insert into email_links (token_hash, user_id, purpose, email, email_key, expires_at, used_at)
       select sha256(i::text::bytea), (select id from users where username = 'backlog'), 'verify', 'backlog@example.com',
              'backlog@example.com', now() - i * interval '1 second' - interval '31 days', now()
         from generate_series(1, ${rows}) as i;
       insert into known_networks (user_id, network, last_used_at)
       select (select id from users where username = 'backlog'), 'network ' || i,
              now() - i * interval '1 second' - interval '31 days'
         from generate_series(1, ${rows}) as i;
       insert into articles (author_id, slug, title, description, body)
       select id, 'backlog-' || i, 'Backlog', 'Backlog', 'Backlog' from users, generate_series(1, 2) as i
        where username = 'backlog';
       insert into article_revisions (article_id, number, title, description, tag_list, created_at, replaced_at)
       select a.id, i, 'Backlog', 'Backlog', '{}', now() - interval '2 years',
              now() - i * interval '1 second' - case slug when 'backlog-1' then interval '1 year' else '0' end
         from articles a, generate_series(1, ${rows} + case slug when 'backlog-1' then 0 else 100 end) as i
        where slug in ('backlog-1', 'backlog-2');
       insert into former_slugs (slug) select 'gone-' || i from generate_series(1, ${rows}) as i;
       insert into rate_limits (key, count, max, ends_at)
       select 'login:address:' || i, 1, 10, now() - i * interval '1 second' from generate_series(1, ${rows}) as i;
       insert into graphile_worker._private_jobs (task_id, attempts, max_attempts, run_at)
       select id, 3, 3, now() - i * interval '1 second' - interval '31 days'
         from graphile_worker._private_tasks, generate_series(1, ${rows}) as i where identifier = 'backlog'`,
    )
    .simple();
}

/** How long batches and requests took, in milliseconds. */
export type Timings = { rows: Record<string, number>; batchesMs: number[]; requestsMs: number[] };

/** Runs the clean-up and repeats a request meanwhile. */
export async function cleanUpBacklog(
  db: ReturnType<typeof openDatabase>,
  request: () => Promise<unknown>,
): Promise<Timings> {
  const timings: Timings = { rows: {}, batchesMs: [], requestsMs: [] };
  const timed = Object.entries(purges(db, loadConfig({}))).map(([name, purge]) => [
    name,
    async () => {
      const started = performance.now();
      const rows = await purge();
      timings.batchesMs.push(performance.now() - started);
      timings.rows[name] = (timings.rows[name] ?? 0) + rows;
      return rows;
    },
  ]);
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  let isDone = false;
  const cleaning = cleanUp(Object.fromEntries(timed), silent)
    .run({}, { id: "1", attempt: 1, createdAt: new Date(), signal: new AbortController().signal })
    .finally(() => {
      isDone = true;
    });
  while (!isDone) {
    const started = performance.now();
    await request();
    timings.requestsMs.push(performance.now() - started);
  }
  await cleaning;
  return timings;
}

async function main(rows: number): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-backlog-"));
  const config = loadConfig({ DATA_DIR: dataDir, HOST: "127.0.0.1", PORT: "0", LOG_LEVEL: "silent" });
  const server = await startServer(config, () => {});
  const db = openDatabase(server.database, poolLimits(config));
  const sql = new SQL(connectionOptions(server.database, 1, { statement_timeout: "0" }));
  try {
    await fillBacklog(sql, rows);
    const started = performance.now();
    const timings = await cleanUpBacklog(db, async () => {
      const response = await fetch(`${server.url}/api/articles`);
      if (response.status !== 200) throw new Error(`a request got ${response.status}: ${await response.text()}`);
    });
    const totalS = (performance.now() - started) / 1000;
    console.log(`deleted ${JSON.stringify(timings.rows)} in ${totalS.toFixed(1)} s`);
    console.log(`batches of 10,000: ${summary(timings.batchesMs)}; limit ${config.databaseStatementTimeoutMs} ms`);
    console.log(`requests meanwhile: ${summary(timings.requestsMs)}`);
  } finally {
    await sql.close({ timeout: 0 });
    await db.close(1_000);
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

function summary(ms: number[]): string {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0);
  return `${ms.length}, median ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`;
}

if (import.meta.main) await main(Math.min(Number(process.argv[2] ?? 1_000_000), 1_000_000));
