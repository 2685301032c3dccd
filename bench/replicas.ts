// npm run bench -- replicas: what reads cost the primary of a cluster that has standbys for them. See docs/operations/scaling.md.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { SQL } from "bun";
import { connectionOptions } from "../src/db/pool.ts";
import { LOAD_USERS_MIN, TABLES } from "../src/seed/load.ts";
import { seed } from "../src/seed/seed.ts";
import {
  address,
  cluster,
  postmasterPid,
  type ReplicaReads,
  replica,
  replicaReads,
  servers,
  serverUrl,
  startServer,
  stopAll,
} from "../test/cluster/environment.ts";
import { type Call, ENDPOINTS } from "./endpoints.ts";
import { chooseLoadGenerator, type LoadGenerator } from "./load.ts";
import { cpuOf, cpuOfPostgres } from "./processes.ts";
import { median, percent, table, whole } from "./report.ts";
import { type Sample, takeSample } from "./sample.ts";
import { signIn } from "./sign-in.ts";

/** Reads in flight at each process. */
const CONNECTIONS = 8;
/** Without memory, so that each read needs the database. */
const SETTINGS = { MEMORY_MAX: "0", DATABASE_POOL_MAX: "4" };

const WRITERS = ["writer_1", "writer_2", "writer_3", "writer_4"];
/** Of each writer: 100 writes a second in all, unless they take longer. */
const WRITE_EVERY_MS = 40;

/**
 * Servers that read from as many replicas. A process uses one standby, so two replicas need two processes: there are two in each
 * setup, each with half of the load, so that nothing but the replicas differs.
 */
type Setup = {
  /** In the table. */
  readonly name: string;
  readonly numbers: readonly number[];
  readonly loads: readonly LoadGenerator[];
};

/** Of one run. CPU includes that of the writes: in seconds a second, and in microseconds for each read. */
type Figures = {
  readsPerS: number;
  writesPerS: number;
  primaryCores: number;
  primaryUs: number;
  standbysUs: number;
  serversUs: number;
  readonly at: ReplicaReads;
};

/** Prints throughput, CPU, and where the reads ran: with 0, 1 and 2 replicas, without writes and with some. */
export async function replicas(articles: number, rounds: number, seconds: number, load?: string): Promise<string> {
  const say = (message: string) => console.error(message);
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => void stopAll().then(() => process.exit(1)));
  try {
    say("starting the cluster");
    await cluster("up");
    const setups = await startSetups(load);
    const sample = await fill(articles, say);
    const tokens = await signIn(serverUrl(2), ["reader_10", ...WRITERS]);
    const nodes = await findNodes();
    const runs = setups.flatMap((setup) => [
      { setup, hasWrites: false },
      { setup, hasWrites: true },
    ]);
    // For comparison: writes alone.
    runs.push({ setup: { ...(setups[0] as Setup), name: "no reads", loads: [] }, hasWrites: true });
    const measured = runs.map(({ setup }) => ({ name: setup.name, figures: [] as Figures[] }));
    // The first round fills the caches, and does not count.
    for (let round = 0; round <= rounds; round++) {
      say(`round ${round} of ${rounds}`);
      for (const [i, run] of runs.entries()) {
        const one = await measure({ ...run, sample, tokens, nodes, seconds: round === 0 ? 1 : seconds });
        if (round > 0) measured[i]?.figures.push(one);
      }
    }
    return print(measured);
  } finally {
    await stopAll();
  }
}

/** Starts all servers at once, so that the measurements can alternate between them. */
async function startSetups(load: string | undefined): Promise<Setup[]> {
  const [first, second] = await findStandbys();
  const settings = [
    [{}, {}],
    [replica(first), replica(first)],
    [replica(first), replica(second)],
  ];
  const setups: Setup[] = [];
  // Number 0 and 1 are those of the cluster test, of which one uses HAProxy.
  let number = 2;
  for (const [replicas, each] of settings.entries()) {
    const numbers: number[] = [];
    const loads: LoadGenerator[] = [];
    for (const one of each) {
      const folder = join(import.meta.dir, ".data", `load-${number}`);
      mkdirSync(folder, { recursive: true });
      loads.push(chooseLoadGenerator(load, folder));
      await startServer(number, { ...SETTINGS, ...one });
      numbers.push(number++);
    }
    setups.push({ name: `${replicas}`, numbers, loads });
  }
  return setups;
}

/** The synchronous one first. */
async function findStandbys(): Promise<[number, number]> {
  const [primary, sync] = [Number(await cluster("primary")), Number(await cluster("sync"))];
  return [sync, 3 - primary - sync];
}

async function fill(articles: number, say: (message: string) => void): Promise<Sample> {
  await seed(address, { articles, users: Math.max(Math.round(articles / 10), LOAD_USERS_MIN) }, say);
  const sql = new SQL(connectionOptions(address, 1, { statement_timeout: "0", jit: "off" }));
  try {
    await sql.unsafe(`vacuum (analyze) ${TABLES.join(", ")}`);
    return await takeSample(sql);
  } finally {
    await sql.close({ timeout: 0 });
  }
}

/** The process IDs of PostgreSQL. */
type Nodes = { readonly primary: number; readonly standbys: readonly number[] };

async function findNodes(): Promise<Nodes> {
  const standbys = await findStandbys();
  return {
    primary: await postmasterPid(Number(await cluster("primary"))),
    standbys: await Promise.all(standbys.map(postmasterPid)),
  };
}

type Run = {
  readonly setup: Setup;
  readonly hasWrites: boolean;
  readonly sample: Sample;
  readonly tokens: ReadonlyMap<string, string>;
  readonly nodes: Nodes;
  readonly seconds: number;
};

async function measure({ setup, hasWrites, sample, tokens, nodes, seconds }: Run): Promise<Figures> {
  const calls = readsOfMix(sample);
  const cpuS = () => ({
    servers: setup.numbers.reduce((sum, n) => sum + cpuOf(servers[n]?.pid ?? 0), 0),
    primary: cpuOfPostgres(nodes.primary),
    standbys: nodes.standbys.reduce((sum, pid) => sum + cpuOfPostgres(pid), 0),
  });
  const [before, readsBefore] = [cpuS(), await replicaReads(setup.numbers)];
  const started = performance.now();
  const writes = startWrites(hasWrites ? WRITERS : [], setup, sample, tokens);
  const job = { calls, tokens, connections: CONNECTIONS, durationS: seconds, once: false };
  const loads = setup.loads.map((load, i) => load.run({ ...job, url: serverUrl(setup.numbers[i] as number) }));
  const [loaded] = await Promise.all([Promise.all(loads), Bun.sleep(seconds * 1000)]);
  const written = await writes.stop();
  const tookS = (performance.now() - started) / 1000;
  const [after, readsAfter] = [cpuS(), await replicaReads(setup.numbers)];
  const errors = loaded.reduce((sum, one) => sum + one.errors, 0);
  if (errors > 0) throw new Error(`${errors} reads failed`);
  const count = loaded.reduce((sum, one) => sum + one.count, 0);
  const usOf = (part: keyof typeof before) => ((after[part] - before[part]) * 1e6) / count;
  return {
    readsPerS: loaded.reduce((sum, { perS }) => sum + perS, 0),
    writesPerS: written / tookS,
    primaryCores: (after.primary - before.primary) / tookS,
    primaryUs: usOf("primary"),
    standbysUs: usOf("standbys"),
    serversUs: usOf("servers"),
    at: {
      reads: readsAfter.reads - readsBefore.reads,
      stale: readsAfter.stale - readsBefore.stale,
      away: readsAfter.away - readsBefore.away,
    },
  };
}

const readsOfMix = (sample: Sample): Call[] =>
  ENDPOINTS.filter(({ kind }) => kind === "mix")
    .flatMap(({ calls }) => calls(sample, ""))
    .filter(({ method }) => method === "GET");

/** Each writer adds a favourite and takes it back, at both servers in turns. */
function startWrites(
  writers: readonly string[],
  { numbers }: Setup,
  { popular }: Sample,
  tokens: ReadonlyMap<string, string>,
): { stop(): Promise<number> } {
  let isRunning = true;
  let count = 0;
  async function write(writer: string, i: number): Promise<void> {
    const headers = { Authorization: `Token ${tokens.get(writer)}` };
    const path = `/api/articles/${popular[i]}/favorite`;
    for (let at = performance.now(), n = i; isRunning; at += WRITE_EVERY_MS, n++) {
      const url = serverUrl(numbers[n % numbers.length] as number);
      const { ok, status } = await fetch(url + path, { method: n % 4 < 2 ? "POST" : "DELETE", headers });
      if (!ok) throw new Error(`a favourite failed: ${status}`);
      count++;
      await Bun.sleep(Math.max(at + WRITE_EVERY_MS - performance.now(), 0));
    }
  }
  const clients = Promise.all(writers.map(write));
  // Reported by `stop`.
  clients.catch(() => {});
  return {
    async stop() {
      isRunning = false;
      await clients;
      return count;
    },
  };
}

function print(measured: readonly { readonly name: string; readonly figures: readonly Figures[] }[]): string {
  const rows = measured.map(({ name, figures }) => {
    const of = (figure: Exclude<keyof Figures, "at">) => median(figures.map((one) => one[figure]));
    const share = (where: keyof ReplicaReads) =>
      percent(median(figures.map(({ at }) => at[where] / (at.reads + at.stale + at.away))));
    return [
      name,
      whole(of("readsPerS")),
      whole(of("writesPerS")),
      of("primaryCores").toFixed(2),
      whole(of("primaryUs")),
      whole(of("standbysUs")),
      whole(of("serversUs")),
      share("reads"),
      share("stale"),
      share("away"),
    ];
  });
  const cpu = ["primary, cores", "primary, µs/read", "standbys, µs/read", "servers, µs/read"];
  return table(["replicas", "reads/s", "writes/s", ...cpu, "at a replica", "stale", "away"], rows);
}
