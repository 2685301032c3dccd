// The cluster and the servers of test/cluster, as processes of this machine.

import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL, type Subprocess } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";

/** After how many seconds Patroni replaces a primary. */
export const TTL_S = 5;

installPackages();
export const root = join(import.meta.dir, "../..");
const port = freePorts();
const hostOf = (node: number) => `127.0.0.1:${port + 20 + node}`;
const nodes = [0, 1, 2].map(hostOf).join(",");
const database = (hosts: string, target: string) =>
  `postgres://conduit:conduit@${hosts}/conduit?sslmode=disable&target_session_attrs=${target}`;
const poolers = [0, 1, 2].map((node) => `127.0.0.1:${port + 24 + node}`).join(",");
/** Settings of a server without memory that reaches each node by way of its PgBouncer. */
export const BEHIND_POOLERS = {
  DATABASE_URL: database(poolers, "read-write"),
  DATABASE_DIRECT_URL: database(nodes, "read-write"),
  MEMORY_MAX: "0",
};
/** Settings of a server that reads from one of the standbys. */
export const REPLICAS = { DATABASE_READ_URL: database(nodes, "prefer-standby") };
/** Settings of a server that reads from this standby. */
export const replica = (node: number) => ({ DATABASE_READ_URL: database(hostOf(node), "prefer-standby") });
const folder = mkdtempSync(join(tmpdir(), "conduit-cluster-"));
// PostgreSQL runs as another user.
chmodSync(folder, 0o755);
/** Of HAProxy, in front of the primary and of the servers. */
export const urls = {
  writable: port + 40,
  rotating: `http://127.0.0.1:${port + 41}`,
  sticky: `http://127.0.0.1:${port + 42}`,
};
/** Of the primary, by way of HAProxy. */
export const address: DatabaseAddress = {
  hostname: "127.0.0.1",
  port: urls.writable,
  username: "conduit",
  password: "conduit",
  database: "conduit",
  tls: "disable",
};
export const serverUrl = (n: number): string => `http://127.0.0.1:${port + 30 + n}`;
export const servers: (Subprocess | undefined)[] = [];

function installPackages(): void {
  if (["/usr/bin/etcd", "/usr/bin/patroni", "/usr/sbin/haproxy", "/usr/bin/psql"].every(existsSync)) return;
  const packages = "etcd-server patroni postgresql haproxy curl iproute2 procps";
  const command = `apt-get update -qq && apt-get install -y -qq --no-install-recommends ${packages} >/dev/null`;
  const { exitCode } = Bun.spawnSync(["bash", "-c", command], { stdout: "inherit", stderr: "inherit" });
  if (exitCode !== 0) process.exit(exitCode);
}

/** The first of 60 ports that are free. Outgoing connections take those from 32768 on. */
function freePorts(): number {
  for (;;) {
    const first = 20_000 + 60 * Math.floor(Math.random() * 200);
    const used = Bun.spawnSync(["ss", "-Htan", `( sport >= :${first} and sport < :${first + 60} )`]).stdout.toString();
    if (used === "") return first;
  }
}

/** Runs a command of cluster.sh. Returns its output. */
export async function cluster(...command: string[]): Promise<string> {
  const child = Bun.spawn(["bash", join(import.meta.dir, "cluster.sh"), ...command], {
    env: {
      PATH: process.env.PATH ?? "",
      CLUSTER_DIR: join(folder, "cluster"),
      CLUSTER_PORT: String(port),
      CLUSTER_TTL: String(TTL_S),
      PGBOUNCER: process.env.PGBOUNCER ?? "",
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`cluster.sh ${command.join(" ")}: ${err || out}`);
  return out.trim();
}

/** Starts a PgBouncer in front of each node, and gives the role what it does not pass on. */
export async function startPoolers(): Promise<void> {
  await asSuperuser(urls.writable, (sql) => sql`alter role conduit in database conduit set statement_timeout = '5s'`);
  for (const node of ["0", "1", "2"]) await cluster("start-pooler", node);
}

/** Starts both servers, or starts them again. */
export async function startServers(settings: Record<string, string>): Promise<void> {
  await Promise.all(
    servers.map((server) => {
      server?.kill("SIGTERM");
      return server?.exited;
    }),
  );
  // The first one migrates.
  for (const n of [0, 1]) await startServer(n, settings);
  for (const url of [urls.rotating, urls.sticky]) {
    await until(10_000, "HAProxy has a server", () => isOk(`${url}/health/ready`));
  }
}

/** Starts one of at most ten servers: number 1 behind HAProxy, the others find the primary among the nodes themselves. */
export async function startServer(n: number, settings: Record<string, string>): Promise<void> {
  const hosts = n === 1 ? `127.0.0.1:${urls.writable}` : nodes;
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
  await until(30_000, `server ${n} is ready`, () => isOk(`${serverUrl(n)}/health/ready`));
}

/** Which of these nodes is the primary, as its Patroni says. One that stands still does not respond. */
export async function findPrimary(candidates: readonly number[]): Promise<number | undefined> {
  const asked = candidates.map(async (node) => {
    if (!(await isOk(`http://127.0.0.1:${port + 10 + node}/primary`))) throw new Error("not the primary");
    return node;
  });
  return await Promise.any(asked).catch(() => undefined);
}

export type ReplicaReads = Record<"reads" | "stale" | "away", number>;

/** How many reads of these servers have run at a replica, and how many could not, as the metrics say. */
export async function replicaReads(numbers: readonly number[]): Promise<ReplicaReads> {
  const texts = await Promise.all(
    numbers.map(async (n) => await (await fetch(`http://127.0.0.1:${port + 50 + n}/metrics`)).text()),
  );
  const sum = (name: string) =>
    texts.reduce((total, text) => total + Number(new RegExp(`^${name} (\\d+)`, "m").exec(text)?.[1] ?? 0), 0);
  return {
    reads: sum("database_replica_reads_total"),
    stale: sum("database_replica_stale_total"),
    away: sum("database_replica_away_total"),
  };
}

/** Runs a statement at both standbys, as a superuser. */
export async function onReplicas(statement: string): Promise<void> {
  const primary = Number(await cluster("primary"));
  for (const node of [0, 1, 2].filter((node) => node !== primary)) {
    await asSuperuser(port + 20 + node, (sql) => sql.unsafe(statement));
  }
}

export async function postmasterPid(node: number): Promise<number> {
  return Number((await Bun.file(join(folder, `cluster/data${node}/postmaster.pid`)).text()).split("\n")[0]);
}

export async function asSuperuser<Result>(at: number, use: (sql: SQL) => Promise<Result>): Promise<Result> {
  const sql = new SQL(`postgres://postgres:superuser@127.0.0.1:${at}/conduit?sslmode=disable`, { max: 1 });
  try {
    return await use(sql);
  } finally {
    await sql.close();
  }
}

export async function showLogs(): Promise<void> {
  for (const name of ["server0", "server1", "cluster/patroni0", "cluster/patroni1", "cluster/patroni2"]) {
    const log = await Bun.file(join(folder, `${name}.log`))
      .text()
      .catch(() => "");
    console.error(`The end of ${name}.log:\n${log.slice(-3_000)}`);
  }
}

/** Ends everything, and removes its files. */
export async function stopAll(): Promise<void> {
  for (const server of servers) server?.kill("SIGKILL");
  await cluster("down").catch(() => {});
  rmSync(folder, { recursive: true, force: true });
}

export async function isOk(url: string): Promise<boolean> {
  return await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
}

export async function until<T>(
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
