// npm run test:cluster: two servers on a PostgreSQL cluster, whose machines fail one after the other. Prints what each event
// cost, and exits with 1 if that was more than docs/operations/cluster.md promises. Runs as root on Debian, in four minutes.
//
// With a PgBouncer in front of each node: PGBOUNCER=$(.ci/pgbouncer /path/of/folder) npm run test:cluster -- --pgbouncer

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  asSuperuser,
  BEHIND_POOLERS,
  cluster,
  findPrimary,
  REPLICAS,
  replicaReads,
  root,
  serverUrl,
  showLogs,
  startPoolers,
  startServers,
  stopAll,
  until,
  urls,
} from "./environment.ts";
import { eventsBehindPoolers, eventsOf, WITHOUT_MEMORY } from "./events.ts";
import { type Sample, startLoad, type Writer } from "./load.ts";
import { type Event, judge, type Outcome, print } from "./report.ts";

/** A run that takes longer has failed, and must not hold up CI. */
const RUN_MAX_MS = 240_000;

const WRITERS = 4;
const READERS = 4;
/** How long the load runs on after the servers have recovered. */
const AFTERWARDS_MS = 1_000;

const { values } = parseArgs({ options: { pgbouncer: { type: "boolean", default: false } } });
const problems: string[] = [];
let registered = 0;

async function main(): Promise<void> {
  const watchdog = setTimeout(() => {
    console.error(`The run did not end within ${RUN_MAX_MS / 1000} s.`);
    void end(1);
  }, RUN_MAX_MS);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void end(1));
  try {
    await cluster("up");
    if (values.pgbouncer) {
      await startPoolers();
    } else {
      await runContract("rotating", { MEMORY_MAX: "0" });
      await runContract("sticky", REPLICAS);
    }
    await runEvents();
  } catch (error) {
    problems.push(String(error));
  }
  clearTimeout(watchdog);
  for (const problem of problems) console.error(`FAILED ${problem}`);
  if (problems.length > 0) await showLogs();
  await end(problems.length === 0 ? 0 : 1);
}

async function end(status: number): Promise<never> {
  await stopAll();
  process.exit(status);
}

/** The official contract, if it lies next to the project, by way of HAProxy. */
async function runContract(balance: "rotating" | "sticky", settings: Record<string, string>): Promise<void> {
  await startServers(settings);
  const contract = join(root, "../shared/realworld/conformance.mjs");
  if (!existsSync(contract)) return console.log(`skipped: ${contract} does not exist`);
  const child = Bun.spawn(["node", contract, urls[balance]], { stdout: "pipe", stderr: "inherit" });
  const output = await child.stdout.text();
  console.log(`contract, ${balance}: ${output.trim().split("\n").at(-1)}`);
  if ((await child.exited) !== 0) problems.push(`the contract with ${balance} requests: ${output}`);
}

async function runEvents(): Promise<void> {
  await startServers(values.pgbouncer ? BEHIND_POOLERS : WITHOUT_MEMORY);
  const people = await Promise.all(Array.from({ length: WRITERS }, (_, i) => newWriter(`writer${i}`)));
  const events = values.pgbouncer
    ? eventsBehindPoolers()
    : eventsOf(await newWriter("remembered"), (found) => problems.push(...found));
  const outcomes: Outcome[] = [];
  for (const event of events) {
    console.log(`${new Date().toISOString().slice(11, 19)} ${event.name}`);
    const outcome = await during(event, people);
    outcomes.push(outcome);
    problems.push(...judge(event, outcome).map((problem) => `${event.name}: ${problem}`));
  }
  print(outcomes);
  if (values.pgbouncer) return;
  const { reads, stale, away } = await replicaReads([0, 1]);
  console.log(`reads at a replica: ${reads}; at the primary, as the replica was behind: ${stale}, or away: ${away}`);
}

async function newWriter(name: string): Promise<Writer> {
  const { token } = await register(name);
  const article = { title: name, description: "For comments", body: "Comments are below" };
  const headers = { Authorization: `Token ${token}`, "Content-Type": "application/json" };
  const created = await fetch(`${urls.sticky}/api/articles`, {
    method: "POST",
    headers,
    body: JSON.stringify({ article }),
  });
  return { token, slug: ((await created.json()) as { article: { slug: string } }).article.slug };
}

async function register(name: string): Promise<{ token: string; refreshToken: string }> {
  const username = `${name}-${process.pid}-${++registered}`;
  const user = { username, email: `${username}@example.com`, password: "correct horse" };
  const response = await post(`${urls.sticky}/api/users`, { user });
  const body = (await response.json()) as { user: { token: string }; refresh_token: string };
  return { token: body.user.token, refreshToken: body.refresh_token };
}

const post = (url: string, body: unknown): Promise<Response> =>
  fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

async function during(event: Event, writers: readonly Writer[]): Promise<Outcome> {
  await cluster("wait-ready");
  const before = await cluster("primary");
  const leaving = await register("leaving");
  const load = startLoad(urls.rotating, writers, READERS);
  await Bun.sleep(AFTERWARDS_MS);
  await event.prepare?.();
  const at = performance.now();
  const ran = event.run();
  // Reported below.
  ran.catch(() => {});
  let newPrimaryMs: number | undefined;
  if (event.movesPrimary) {
    await until(40_000, "another primary", () => findPrimary([0, 1, 2].filter((node) => String(node) !== before)));
    newPrimaryMs = performance.now() - at;
  }
  await ran;
  // Before a switchover has begun, writes still succeed.
  const from = at + (newPrimaryMs ?? 0);
  const isGood = ({ kind, sentAt, tookMs, status }: Sample) =>
    kind === "write" && sentAt + tookMs >= from && status >= 200 && status < 300;
  const written = await until(40_000, "a write succeeds", () => load.samples.find(isGood));
  const signOutMs = event.movesPrimary ? await signOut(leaving) : undefined;
  await event.repair();
  await Bun.sleep(AFTERWARDS_MS);
  await load.stop();
  await cluster("wait-ready");
  return {
    event: event.name,
    newPrimaryMs,
    firstWriteMs: written.sentAt + written.tookMs - at,
    signOutMs,
    unseen: load.unseen.length,
    samples: load.samples.filter(({ sentAt, tookMs }) => sentAt + tookMs >= at),
    ...(await compare(load.acknowledged)),
  };
}

/** Signs out at one server. Returns how long the token was valid at the other. */
async function signOut({ token, refreshToken }: { token: string; refreshToken: string }): Promise<number> {
  const statusAt = async (url: string) =>
    (await fetch(`${url}/api/user`, { headers: { Authorization: `Token ${token}` } })).status;
  await until(10_000, "the user is signed in", async () => (await statusAt(serverUrl(1))) === 200);
  // This server may still wait for the old primary. Then it cannot tell whether the sign-out took effect, and the user repeats it.
  await until(10_000, "a sign-out succeeds", async () => {
    const { ok, status } = await post(`${serverUrl(0)}/api/auth/logout`, { refresh_token: refreshToken });
    if (!ok && status !== 503) throw new Error(`a sign-out failed: ${status}`);
    return ok;
  });
  const at = performance.now();
  return await until(20_000, "the sign-out is known", async () =>
    (await statusAt(serverUrl(1))) === 401 ? performance.now() - at : false,
  );
}

/** Compares what was acknowledged with the rows of the database. */
async function compare(acknowledged: ReadonlySet<string>): Promise<{ lost: number; repeated: number }> {
  const rows = await asSuperuser(
    urls.writable,
    async (sql): Promise<{ body: string; copies: number }[]> =>
      await sql`select body, count(*)::integer as copies from comments group by body`,
  );
  const stored = new Set(rows.map(({ body }) => body));
  return {
    lost: [...acknowledged].filter((body) => !stored.has(body)).length,
    repeated: rows.filter(({ copies }) => copies > 1).length,
  };
}

await main();
