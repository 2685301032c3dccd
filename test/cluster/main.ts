// npm run test:cluster: two servers on a PostgreSQL cluster, whose machines fail one after the other. Prints what each event
// cost, and exits with 1 if that was more than docs/operations/cluster.md promises. Runs as root on Debian, in four minutes.

import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL, type Subprocess } from "bun";
import { type Sample, startLoad, type Writer } from "./load.ts";

/** After how many seconds Patroni replaces a primary. */
const TTL_S = 5;
/** What a failover may take in addition, until a write succeeds. */
const MARGIN_MS = 5_000;
/** How soon a sign-out has to reach the other server. */
const SIGN_OUT_MAX_MS = 3_000;
/** A run that takes longer has failed, and must not hold up CI. */
const RUN_MAX_MS = 240_000;

const WRITERS = 4;
const READERS = 4;
/** How long the load runs on after the servers have recovered. */
const AFTERWARDS_MS = 1_000;

const root = join(import.meta.dir, "../..");
const port = freePorts();
const nodes = [0, 1, 2].map((node) => `127.0.0.1:${port + 20 + node}`).join(",");
const database = (hosts: string, target: string) =>
  `postgres://conduit:conduit@${hosts}/conduit?sslmode=disable&target_session_attrs=${target}`;
const REPLICAS = { DATABASE_READ_URL: database(nodes, "prefer-standby") };
const folder = mkdtempSync(join(tmpdir(), "conduit-cluster-"));
// PostgreSQL runs as another user.
chmodSync(folder, 0o755);
const urls = {
  writable: port + 40,
  rotating: `http://127.0.0.1:${port + 41}`,
  sticky: `http://127.0.0.1:${port + 42}`,
};
const serverUrls = [0, 1].map((n) => `http://127.0.0.1:${port + 30 + n}`) as [string, string];
const servers: (Subprocess | undefined)[] = [];
const problems: string[] = [];
let registered = 0;

async function main(): Promise<void> {
  installPackages();
  const watchdog = setTimeout(() => {
    console.error(`The run did not end within ${RUN_MAX_MS / 1000} s.`);
    void end(1);
  }, RUN_MAX_MS);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void end(1));
  try {
    await cluster("up");
    await runContract("rotating", { MEMORY_MAX: "0" });
    await runContract("sticky", REPLICAS);
    await runEvents();
  } catch (error) {
    problems.push(String(error));
  }
  clearTimeout(watchdog);
  for (const problem of problems) console.error(`FAILED ${problem}`);
  if (problems.length > 0) await showLogs();
  await end(problems.length === 0 ? 0 : 1);
}

async function end(status: number): Promise<void> {
  for (const server of servers) server?.kill("SIGKILL");
  await cluster("down").catch(() => {});
  rmSync(folder, { recursive: true, force: true });
  process.exit(status);
}

async function showLogs(): Promise<void> {
  for (const name of ["server0", "server1", "cluster/patroni0", "cluster/patroni1", "cluster/patroni2"]) {
    const log = await Bun.file(join(folder, `${name}.log`))
      .text()
      .catch(() => "");
    console.error(`The end of ${name}.log:\n${log.slice(-3_000)}`);
  }
}

/** The first of 60 ports that are free. Outgoing connections take those from 32768 on. */
function freePorts(): number {
  for (;;) {
    const first = 20_000 + 60 * Math.floor(Math.random() * 200);
    const used = Bun.spawnSync(["ss", "-Htan", `( sport >= :${first} and sport < :${first + 60} )`]).stdout.toString();
    if (used === "") return first;
  }
}

function installPackages(): void {
  if (["/usr/bin/etcd", "/usr/bin/patroni", "/usr/sbin/haproxy", "/usr/bin/psql"].every(existsSync)) return;
  const packages = "etcd-server patroni postgresql haproxy curl iproute2 procps";
  const command = `apt-get update -qq && apt-get install -y -qq --no-install-recommends ${packages} >/dev/null`;
  const { exitCode } = Bun.spawnSync(["bash", "-c", command], { stdout: "inherit", stderr: "inherit" });
  if (exitCode !== 0) process.exit(exitCode);
}

async function cluster(...command: string[]): Promise<string> {
  const child = Bun.spawn(["bash", join(import.meta.dir, "cluster.sh"), ...command], {
    env: {
      PATH: process.env.PATH ?? "",
      CLUSTER_DIR: join(folder, "cluster"),
      CLUSTER_PORT: String(port),
      CLUSTER_TTL: String(TTL_S),
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`cluster.sh ${command.join(" ")}: ${err || out}`);
  return out.trim();
}

/** Starts both servers: one that finds the primary among the nodes itself, and one behind HAProxy. */
async function startServers(settings: Record<string, string>): Promise<void> {
  await Promise.all(
    servers.map((server) => {
      server?.kill("SIGTERM");
      return server?.exited;
    }),
  );
  // The first one migrates.
  for (const n of [0, 1]) await startServer(n, settings);
}

async function startServer(n: number, settings: Record<string, string>): Promise<void> {
  const hosts = n === 0 ? nodes : `127.0.0.1:${urls.writable}`;
  const log = Bun.file(join(folder, `server${n}.log`));
  servers[n] = Bun.spawn([process.execPath, join(root, "src/main.ts"), "serve"], {
    env: {
      PATH: process.env.PATH ?? "",
      HOST: "127.0.0.1",
      PORT: String(port + 30 + n),
      DATABASE_URL: database(hosts, "read-write"),
      METRICS_PORT: String(port + 50 + n),
      DATABASE_POOL_MAX: "8",
      JWT_SECRET: "the secret of the servers on the cluster, for tests",
      RATE_LIMITS: "off",
      LOG_LEVEL: "warn",
      ...settings,
    },
    stdout: log,
    stderr: log,
  });
  await until(30_000, `server ${n} is ready`, () => isOk(`${serverUrls[n]}/health/ready`));
}

/** The official contract, if it lies next to the project, by way of HAProxy. */
async function runContract(balance: "rotating" | "sticky", settings: Record<string, string>): Promise<void> {
  await startServers(settings);
  await until(10_000, "HAProxy has both servers", () => isOk(`${urls[balance]}/health/ready`));
  const contract = join(root, "../shared/realworld/conformance.mjs");
  if (!existsSync(contract)) return console.log(`skipped: ${contract} does not exist`);
  const child = Bun.spawn(["node", contract, urls[balance]], { stdout: "pipe", stderr: "inherit" });
  const output = await child.stdout.text();
  console.log(`contract, ${balance}: ${output.trim().split("\n").at(-1)}`);
  if ((await child.exited) !== 0) problems.push(`the contract with ${balance} requests: ${output}`);
}

/** What happened around an event, in milliseconds since it. */
type Outcome = {
  readonly event: string;
  readonly newPrimaryMs: number | undefined;
  readonly firstWriteMs: number | undefined;
  readonly signOutMs: number | undefined;
  readonly samples: readonly Sample[];
  readonly lost: number;
  readonly repeated: number;
  readonly unseen: number;
};

type Event = {
  readonly name: string;
  /** Whether another node becomes the primary. */
  readonly movesPrimary: boolean;
  /** Chooses what `run` ends. */
  prepare?(): Promise<void>;
  run(): Promise<void>;
  /** Brings back what the event has ended. */
  repair(): Promise<void>;
  /** Statuses beyond success and 503 that some requests may have. */
  readonly allowed?: readonly number[];
  readonly readsMayFail: boolean;
};

/** Nothing in memory, so that each read shows what a replica shows. */
const FOR_EVENTS = { ...REPLICAS, MEMORY_MAX: "0" };

async function runEvents(): Promise<void> {
  await startServers(FOR_EVENTS);
  const people = await Promise.all(Array.from({ length: WRITERS }, (_, i) => newWriter(`writer${i}`)));
  let node = "";
  const restart = () => cluster("start-node", node).then(noResult);
  const choosePrimary = async () => {
    node = await cluster("primary");
  };
  const kill = () => cluster("kill-node", node).then(noResult);
  const primary = { movesPrimary: true, prepare: choosePrimary };
  const events: Event[] = [
    { ...primary, name: "kill -9 of the primary", run: kill, repair: restart, readsMayFail: true },
    { ...primary, name: "kill -9 of the next primary", run: kill, repair: restart, readsMayFail: true },
    {
      ...primary,
      name: "switchover",
      run: () => cluster("switchover").then(noResult),
      repair: async () => {},
      readsMayFail: false,
    },
    {
      ...primary,
      name: "frozen primary",
      run: () => cluster("freeze-node", node).then(noResult),
      repair: () => cluster("thaw-node", node).then(noResult),
      readsMayFail: true,
    },
    {
      name: "kill -9 of a server",
      movesPrimary: false,
      async run() {
        servers[1]?.kill("SIGKILL");
      },
      repair: () => startServer(1, FOR_EVENTS),
      // Requests that the server had received.
      allowed: [0, 502],
      readsMayFail: true,
    },
    {
      name: "kill -9 of a replica",
      movesPrimary: false,
      async prepare() {
        node = await cluster("sync");
      },
      run: kill,
      repair: restart,
      readsMayFail: false,
    },
    {
      name: "replicas that do not follow",
      movesPrimary: false,
      run: () => onReplicas("select pg_wal_replay_pause()"),
      repair: () => onReplicas("select pg_wal_replay_resume()"),
      readsMayFail: false,
    },
  ];
  const outcomes: Outcome[] = [];
  for (const event of events) {
    console.log(`${new Date().toISOString().slice(11, 19)} ${event.name}`);
    const outcome = await during(event, people);
    outcomes.push(outcome);
    problems.push(...judge(event, outcome).map((problem) => `${event.name}: ${problem}`));
  }
  print(outcomes);
  await printReplicas();
}

const noResult = (): void => {};

async function onReplicas(statement: string): Promise<void> {
  const primary = Number(await cluster("primary"));
  for (const node of [0, 1, 2].filter((node) => node !== primary)) {
    await withNode(port + 20 + node, (sql) => sql.unsafe(statement));
  }
}

async function withNode<Result>(at: number, use: (sql: SQL) => Promise<Result>): Promise<Result> {
  const sql = new SQL(`postgres://postgres:superuser@127.0.0.1:${at}/conduit?sslmode=disable`, { max: 1 });
  try {
    return await use(sql);
  } finally {
    await sql.close();
  }
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

/** Which of these nodes is the primary, as its Patroni says. One that stands still does not respond. */
async function findPrimary(candidates: readonly number[]): Promise<number | undefined> {
  const asked = candidates.map(async (node) => {
    if (!(await isOk(`http://127.0.0.1:${port + 10 + node}/primary`))) throw new Error("not the primary");
    return node;
  });
  return await Promise.any(asked).catch(() => undefined);
}

/** Signs out at one server. Returns how long the token was valid at the other. */
async function signOut({ token, refreshToken }: { token: string; refreshToken: string }): Promise<number> {
  const statusAt = async (url: string) =>
    (await fetch(`${url}/api/user`, { headers: { Authorization: `Token ${token}` } })).status;
  await until(10_000, "the user is signed in", async () => (await statusAt(serverUrls[1])) === 200);
  const response = await post(`${serverUrls[0]}/api/auth/logout`, { refresh_token: refreshToken });
  if (!response.ok) throw new Error(`a sign-out failed: ${response.status}`);
  const at = performance.now();
  return await until(20_000, "the sign-out is known", async () =>
    (await statusAt(serverUrls[1])) === 401 ? performance.now() - at : false,
  );
}

/** Compares what was acknowledged with the rows of the database. */
async function compare(acknowledged: ReadonlySet<string>): Promise<{ lost: number; repeated: number }> {
  const rows = await withNode(
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

function judge(event: Event, { firstWriteMs, signOutMs, samples, lost, repeated, unseen }: Outcome): string[] {
  const unexpected = samples.filter(({ status }) => !isExpected(event, status)).map(({ status }) => status);
  const failedReads = samples.filter(({ kind, status }) => kind === "read" && (status === 0 || status >= 500)).length;
  return [
    ...(lost > 0 ? [`${lost} acknowledged writes were lost`] : []),
    ...(repeated > 0 ? [`${repeated} writes took effect twice`] : []),
    ...(unseen > 0 ? [`${unseen} writes were not in the next read of their author`] : []),
    ...(unexpected.length > 0 ? [`responses with the statuses ${[...new Set(unexpected)].join(", ")}`] : []),
    ...(failedReads > 0 && !event.readsMayFail ? [`${failedReads} reads failed`] : []),
    ...((firstWriteMs ?? Number.POSITIVE_INFINITY) > TTL_S * 1_000 + MARGIN_MS
      ? [`the first write succeeded after ${seconds(firstWriteMs)} s`]
      : []),
    ...((signOutMs ?? 0) > SIGN_OUT_MAX_MS
      ? [`a sign-out reached the other server after ${seconds(signOutMs)} s`]
      : []),
  ];
}

/** Success, 503, or what requests may get that the event itself has ended; 0 is a lost connection. */
const isExpected = ({ allowed = [] }: Event, status: number): boolean =>
  (status >= 200 && status < 300) || status === 503 || allowed.includes(status);

function print(outcomes: readonly Outcome[]): void {
  const rows = outcomes.map(({ event, newPrimaryMs, firstWriteMs, signOutMs, samples, lost, repeated, unseen }) => {
    const failed = (kind: Sample["kind"]) =>
      samples.filter((sample) => sample.kind === kind && (sample.status === 0 || sample.status >= 500)).length;
    return {
      event,
      "new primary, s": seconds(newPrimaryMs),
      "first write, s": seconds(firstWriteMs),
      "slowest, s": seconds(Math.max(...samples.map(({ tookMs }) => tookMs))),
      requests: samples.length,
      "failed reads": failed("read"),
      "failed writes": failed("write"),
      "lost writes": lost,
      repeated,
      unseen,
      "sign-out, ms": signOutMs === undefined ? "" : Math.round(signOutMs),
    };
  });
  const [first] = rows;
  if (first === undefined) return;
  console.log(`| ${Object.keys(first).join(" | ")} |`);
  console.log(
    `| ${Object.keys(first)
      .map(() => "---")
      .join(" | ")} |`,
  );
  for (const row of rows) console.log(`| ${Object.values(row).join(" | ")} |`);
}

/** How many reads the replicas of both servers have run. */
async function printReplicas(): Promise<void> {
  const texts = await Promise.all(
    [0, 1].map(async (n) => await (await fetch(`http://127.0.0.1:${port + 50 + n}/metrics`)).text()),
  );
  const sum = (name: string) =>
    texts.reduce((total, text) => total + Number(new RegExp(`^${name} (\\d+)`, "m").exec(text)?.[1] ?? 0), 0);
  const [served, stale, away] = ["reads", "stale", "away"].map((name) => sum(`database_replica_${name}_total`));
  console.log(`reads at a replica: ${served}; at the primary, as the replica was behind: ${stale}, or away: ${away}`);
}

const seconds = (ms: number | undefined): string => (ms === undefined ? "" : (ms / 1000).toFixed(1));

async function isOk(url: string): Promise<boolean> {
  return await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function until<T>(
  timeoutMs: number,
  what: string,
  find: () => T | Promise<T>,
): Promise<Exclude<T, false | undefined>> {
  for (const deadline = performance.now() + timeoutMs; ; await Bun.sleep(20)) {
    const found = await find();
    if (found !== false && found !== undefined) return found as Exclude<T, false | undefined>;
    if (performance.now() > deadline) throw new Error(`this did not happen within ${timeoutMs / 1000} s: ${what}`);
  }
}

await main();
