// npm run bench: measures every endpoint, and what bounds it, on a data set of its own. See docs/performance.md.

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../src/config/settings.ts";
import { openDatabase } from "../src/db/pool.ts";
import { createTokens } from "../src/features/identity/tokens.ts";
import { poolLimits } from "../src/server/server.ts";
import type { Payload } from "./bare-server.ts";
import { compare } from "./compare.ts";
import { type Dataset, openDataset } from "./dataset.ts";
import { ENDPOINTS, type Endpoint } from "./endpoints.ts";
import { explain, explainedTable } from "./explain.ts";
import { halfLoad } from "./half-load.ts";
import { isolation } from "./isolation.ts";
import { chooseLoadGenerator, type LoadGenerator } from "./load.ts";
import { overhead } from "./overhead.ts";
import { pages } from "./pages.ts";
import {
  type App,
  cpuOf,
  cpuOfPostgres,
  memoryOf,
  type Responder,
  startApp,
  startResponder,
  urlOf,
} from "./processes.ts";
import { type Costs, type Measured, type Result, report } from "./report.ts";
import { search } from "./search.ts";
import { signIn } from "./sign-in.ts";
import type { StatementFigures, StatementRun } from "./statement-limit.ts";
import { createStatementFinder, type StatementFinder, wireForm } from "./statements.ts";
import { upgrade } from "./upgrade.ts";

const USAGE = `Usage: npm run bench -- [flags]
       npm run bench -- explain [--articles=…] [--only=…]
       npm run bench -- compare before.json after.json
       npm run bench -- isolation [--articles=…] [--rounds=…] [--seconds=…]
       npm run bench -- pages [--articles=…] [--rounds=…]
       npm run bench -- search [--articles=…] [--rounds=…]
       npm run bench -- upgrade [--articles=…] [--seconds=15]
       npm run bench -- overhead [--articles=…] [--rounds=…] [--seconds=…] [--connections=…] [--load=…]
       npm run bench -- half [--articles=…] [--rounds=…] [--seconds=…]
       npm run bench -- replicas [--articles=…] [--rounds=…] [--seconds=…] [--load=…]
       npm run bench -- peer [--articles=…] [--rounds=…] [--seconds=…] [--only=…] [--keep]

peer loads this server and bench/peer (axum and sqlx on plain tables) alternately, and prints the ratio of each kind of request.
It needs cargo, wrk and psql.

overhead prints the CPU of a request that does nothing, beside that of a bare Bun.serve.

half prints how long reads from memory take at half of the load that the server can bear. It needs wrk.

replicas prints what reads cost the primary of a cluster without replicas, and with one and two. It runs as root on Debian, and
installs the packages of npm run test:cluster.

isolation prints the times of GET /api/articles alone, and beside ten clients that send the slowest requests there are.

pages prints the times of the second page of each list and of a deep one, and those of the sitemap.

search prints the times of searches and suggestions, rare and common, and the CPU that the database used for them (Linux).

upgrade prints the times of requests beside migrations and a transaction that stays open, and fails if one takes a second.

explain prints how PostgreSQL runs the statement of each endpoint, and writes the whole plans to bench/.data/plans-ARTICLES.txt.

  --articles=20000    size of the data set, kept in bench/.data; 1000000 takes some minutes the first time
  --only=NAME         what starts with this: an endpoint, "workers" or "starts"; may be given several times
  --quick             one short round, without the bare server
  --rounds=3          each measures everything once
  --seconds=2         of each measurement
  --connections=32    requests in flight
  --load=wrk          or autocannon; wrk unless it is not installed
  --memory=0          MEMORY_MAX of the server, in bytes
  --soak=2000000      this many requests of the mix afterwards, with the memory after each half
  --out=FILE          where the figures go as JSON (bench/.data/result-ARTICLES.json)`;

/** All that send requests. */
const USERS = ["reader_10", "reader_1000", ...Array.from({ length: 16 }, (_, i) => `writer_${i + 1}`)];

const JWT_SECRET = "the secret of the bench, which is 32 bytes or more";

/**
 * The number of requests in flight on each connection when workers are compared, so that the load generator leaves them the
 * cores. Elsewhere it is one, because Bun closes a connection if a request arrives before the previous one has a response.
 */
const PIPELINED = 8;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    articles: { type: "string", default: "20000" },
    only: { type: "string", multiple: true },
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    connections: { type: "string", default: "32" },
    load: { type: "string" },
    soak: { type: "string" },
    memory: { type: "string" },
    out: { type: "string" },
    keep: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  },
});

if (values.help) {
  console.log(USAGE);
} else if (positionals[0] === "compare" && positionals.length === 3) {
  const [, before, after] = positionals as [string, string, string];
  console.log(compare(await Bun.file(before).json(), await Bun.file(after).json()));
} else if (positionals[0] === "explain" && positionals.length === 1) {
  await explainAll();
} else if (positionals[0] === "isolation" && positionals.length === 1) {
  console.log(await isolation(Number(values.articles), Number(values.rounds ?? 3), Number(values.seconds ?? 4)));
} else if (positionals[0] === "pages" && positionals.length === 1) {
  console.log(await pages(Number(values.articles), Number(values.rounds ?? 100)));
} else if (positionals[0] === "search" && positionals.length === 1) {
  console.log(await search(Number(values.articles), Number(values.rounds ?? 40)));
} else if (positionals[0] === "upgrade" && positionals.length === 1) {
  console.log(await upgrade(Number(values.articles), Number(values.seconds ?? 15)));
} else if (positionals[0] === "overhead" && positionals.length === 1) {
  const [rounds, seconds] = [Number(values.rounds ?? 5), Number(values.seconds ?? 2)];
  console.log(await overhead(Number(values.articles), rounds, seconds, Number(values.connections), values.load));
} else if (positionals[0] === "half" && positionals.length === 1) {
  console.log(await halfLoad(Number(values.articles), Number(values.rounds ?? 3), Number(values.seconds ?? 3)));
} else if (positionals[0] === "replicas" && positionals.length === 1) {
  // Not imported by the others, as it installs packages.
  const { replicas } = await import("./replicas.ts");
  const [articles, rounds, seconds] = [
    Number(values.articles),
    Number(values.rounds ?? 3),
    Number(values.seconds ?? 3),
  ];
  console.log(await replicas(articles, rounds, seconds, values.load));
} else if (positionals[0] === "peer" && positionals.length === 1) {
  const peer = Bun.spawn(["bash", join(import.meta.dir, "peer/side-by-side.sh"), ...process.argv.slice(3)], {
    stdio: ["inherit", "inherit", "inherit"],
  });
  process.exitCode = await peer.exited;
} else if (positionals.length > 0) {
  console.error(USAGE);
  process.exit(1);
} else {
  await bench();
}

/** What a run measures, and with what. */
type Bench = {
  readonly dataset: Dataset;
  readonly app: App;
  readonly statements: Responder<StatementRun, StatementFigures>;
  readonly bareServer: Responder<Payload, string>;
  readonly load: LoadGenerator;
  readonly tokens: ReadonlyMap<string, string>;
  readonly findStatements: StatementFinder;
  readonly isQuick: boolean;
  readonly seconds: number;
  readonly connections: number;
};

async function bench(): Promise<void> {
  const onProgress = (message: string) => console.error(message);
  const articles = Number(values.articles);
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const seconds = Number(values.seconds ?? (values.quick ? 1 : 2));
  const connections = Number(values.connections);
  const folder = join(import.meta.dir, ".data");
  mkdirSync(folder, { recursive: true });
  const only = values.only ?? [""];
  const wants = (name: string): boolean => only.some((start) => name.startsWith(start));
  const endpoints = ENDPOINTS.filter(({ name }) => wants(name));
  if (endpoints.length === 0 && !wants("workers") && !wants("starts")) {
    const names = [...ENDPOINTS.map(({ name }) => name), "workers", "starts"];
    throw new Error(`unknown measurement; choose one of: ${names.join("; ")}`);
  }

  const closers: (() => Promise<void>)[] = [];
  try {
    const load = chooseLoadGenerator(values.load, folder);
    const dataset = await openDataset(articles, onProgress);
    closers.push(dataset.stop);
    // The readers stay signed in for the whole run.
    const settings = {
      DATABASE_URL: urlOf(dataset.address),
      JWT_SECRET,
      ACCESS_TOKEN_TTL: "12h",
      RATE_LIMITS: "off",
      ...(values.memory === undefined ? {} : { MEMORY_MAX: values.memory }),
    };
    const app = await startApp({ ...settings, METRICS_PORT: "0" });
    closers.push(app.stop);
    const silentApp = await startApp({ ...settings, LOG_LEVEL: "silent" });
    closers.push(silentApp.stop);
    const statements = startResponder<StatementRun, StatementFigures>("statement-limit.ts", settings);
    closers.push(statements.stop);
    const bareServer = startResponder<Payload, string>("bare-server.ts", {});
    closers.push(bareServer.stop);
    const db = openDatabase(dataset.address, poolLimits(loadConfig({})));
    closers.push(() => db.close(1_000));
    const tokens = await signIn(app.url, USERS);
    const findStatements = createStatementFinder(db, JWT_SECRET, tokens);
    const bench: Bench = {
      dataset,
      app,
      statements,
      bareServer,
      load,
      tokens,
      findStatements,
      isQuick: values.quick,
      seconds,
      connections,
    };

    const measured: Measured[] = endpoints.map(({ name, kind }) => ({ name, kind, http: [], statement: [], bare: [] }));
    const select1: Result["select1"] = [];
    const tokenCosts = costOfTokens();
    const costs: Costs = { ...tokenCosts, loggedUs: [], silentUs: [] };
    const memory = [{ requests: 0, MB: memoryOf(app.pid) }];
    const started = Date.now();
    for (let round = 1; round <= rounds; round++) {
      if (round > 1) await dataset.settle();
      select1.push(await measureSelect1(bench));
      for (const [i, endpoint] of endpoints.entries()) {
        onProgress(`round ${round} of ${rounds}, ${((Date.now() - started) / 1000).toFixed(0)} s: ${endpoint.name}`);
        await measure(bench, endpoint, measured[i] as Measured, `${Date.now().toString(36)}${round}`);
        if (endpoint.name === "article") {
          // A few µs of forty: visible only if both are measured alternately.
          for (let i = 0; i < 4; i++) {
            costs.loggedUs.push((await throughHttp(bench, app, endpoint, "")).appCpuUs);
            costs.silentUs.push((await throughHttp(bench, silentApp, endpoint, "")).appCpuUs);
          }
        }
      }
    }
    const requests = measured.flatMap(({ http }) => http).reduce((sum, { count }) => sum + count, 0);
    memory.push({ requests, MB: memoryOf(app.pid) });
    if (values.soak !== undefined) memory.push(...(await soak(bench, requests, Number(values.soak), onProgress)));
    const result: Result = {
      at: new Date().toISOString(),
      articles,
      setup: {
        Bun: Bun.version,
        PostgreSQL: 18,
        cores: cpus().length,
        load: load.name,
        "requests in flight": connections,
        rounds,
        seconds,
      },
      measured,
      select1,
      costs,
      memory,
      workers: wants("workers") ? await measureWorkers(bench, settings, rounds) : [],
      starts: wants("starts") ? await measureStarts(folder) : null,
    };
    const out = values.out ?? join(folder, `result-${articles}.json`);
    await Bun.write(out, `${JSON.stringify(result, null, 2)}\n`);
    console.log(report(result));
    console.log(`The figures are in ${out}`);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

async function explainAll(): Promise<void> {
  const articles = Number(values.articles);
  const dataset = await openDataset(articles, (message) => console.error(message));
  const closers = [dataset.stop];
  try {
    const app = await startApp({ DATABASE_URL: urlOf(dataset.address), JWT_SECRET });
    closers.push(app.stop);
    const db = openDatabase(dataset.address, poolLimits(loadConfig({})));
    closers.push(() => db.close(1_000));
    const only = values.only ?? [""];
    const endpoints = ENDPOINTS.filter(({ name }) => only.some((start) => name.startsWith(start)));
    const findStatements = createStatementFinder(db, JWT_SECRET, await signIn(app.url, USERS));
    const explained = await explain(dataset, endpoints, findStatements);
    const file = join(import.meta.dir, ".data", `plans-${articles}.txt`);
    await Bun.write(
      file,
      explained.map(({ endpoint, statement, plan }) => `${endpoint}: ${statement}\n\n${plan}\n`).join("\n"),
    );
    console.log(explainedTable(explained));
    console.log(`The plans are in ${file}`);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** One round of one endpoint: through HTTP, its statements alone, and its bytes alone. */
async function measure(bench: Bench, endpoint: Endpoint, measured: Measured, nonce: string): Promise<void> {
  const { dataset, bareServer, load, tokens, connections, seconds } = bench;
  await dataset.prepare(endpoint, `${nonce}h`);
  measured.http.push(await throughHttp(bench, bench.app, endpoint, `${nonce}h`));
  await dataset.prepare(endpoint, `${nonce}s`);
  measured.statement.push(await statementsAlone(bench, endpoint, `${nonce}s`));

  if (endpoint.kind !== "read") await dataset.tidy();
  // For signed-in readers, the bytes are nearly those for anonymous ones.
  if (bench.isQuick || endpoint.name.endsWith(", signed in")) return;
  await dataset.prepare(endpoint, `${nonce}b`);
  const calls = endpoint.calls(dataset.sample, `${nonce}b`);
  const url = await bareServer.send(await responseTo(bench, calls[0]));
  const cpuBefore = cpuOf(bareServer.pid);
  const bare = await load.run({ url, calls, tokens, connections, durationS: seconds / 2, once: false });
  measured.bare.push({ ...bare, appCpuUs: ((cpuOf(bareServer.pid) - cpuBefore) * 1e6) / bare.count });
  if (endpoint.kind !== "read") await dataset.tidy();
}

async function throughHttp(
  bench: Bench,
  app: App,
  endpoint: Endpoint,
  nonce: string,
): Promise<Measured["http"][number]> {
  const { dataset, load, tokens, connections, seconds } = bench;
  const calls = endpoint.calls(dataset.sample, nonce);
  const [appBefore, postgresBefore] = [cpuOf(app.pid), cpuOfPostgres(dataset.postmasterPid)];
  const once = endpoint.once ?? false;
  const figures = await load.run({ url: app.url, calls, tokens, connections, durationS: seconds, once });
  const [appCpuS, postgresCpuS] = [cpuOf(app.pid) - appBefore, cpuOfPostgres(dataset.postmasterPid) - postgresBefore];
  return { ...figures, appCpuUs: (appCpuS * 1e6) / figures.count, postgresCpuUs: (postgresCpuS * 1e6) / figures.count };
}

async function statementsAlone(
  bench: Bench,
  endpoint: Endpoint,
  nonce: string,
): Promise<Measured["statement"][number]> {
  const calls = await bench.findStatements(endpoint.calls(bench.dataset.sample, nonce));
  return await runStatements(bench, calls, endpoint.once ?? false);
}

function measureSelect1(bench: Bench): Promise<Measured["statement"][number]> {
  return runStatements(bench, [["bench_select_1", []]], false);
}

async function runStatements(
  bench: Bench,
  calls: StatementRun["calls"],
  once: boolean,
): Promise<Measured["statement"][number]> {
  const { dataset, statements, connections, seconds } = bench;
  const postgresBefore = cpuOfPostgres(dataset.postmasterPid);
  const figures = await statements.send({
    calls,
    durationMs: seconds * (bench.isQuick ? 500 : 1000),
    inFlight: connections,
    once,
  });
  const postgresCpuS = cpuOfPostgres(dataset.postmasterPid) - postgresBefore;
  return { ...figures, postgresCpuUs: (postgresCpuS * 1e6) / figures.count };
}

async function responseTo(
  { app, tokens }: Bench,
  call: ReturnType<Endpoint["calls"]>[number] | undefined,
): Promise<Payload> {
  if (call === undefined) throw new Error("the endpoint has no requests");
  const { headers, body } = wireForm(call, tokens);
  const response = await fetch(app.url + call.path, {
    method: call.method,
    headers,
    ...(body === undefined ? {} : { body }),
  });
  if (!response.ok) throw new Error(`${call.method} ${call.path}: ${response.status} ${await response.text()}`);
  return {
    status: response.status,
    contentType: response.headers.get("content-type") ?? "",
    body: await response.text(),
  };
}

/** Sends more requests of the mix, and measures the memory of the app after each half of them. */
async function soak(
  bench: Bench,
  requestsBefore: number,
  requests: number,
  onProgress: (message: string) => void,
): Promise<Result["memory"]> {
  const mix = ENDPOINTS.find(({ kind }) => kind === "mix") as Endpoint;
  const memory: { requests: number; MB: number }[] = [];
  let done = 0;
  for (const until of [requests / 2, requests]) {
    while (done < until) {
      done += (await throughHttp({ ...bench, seconds: 10 }, bench.app, mix, "")).count;
      onProgress(`soak: ${done.toLocaleString("en")} requests, ${memoryOf(bench.app.pid).toFixed(0)} MB`);
    }
    memory.push({ requests: requestsBefore + done, MB: memoryOf(bench.app.pid) });
  }
  await bench.dataset.tidy();
  return memory;
}

/** Measures requests that need no database, alternately with one process and with two. */
async function measureWorkers(
  bench: Bench,
  settings: Record<string, string>,
  rounds: number,
): Promise<Result["workers"]> {
  const { load, tokens, connections, seconds } = bench;
  const apps = [await startApp({ ...settings, METRICS_PORT: "0", WORKERS: "1" })];
  try {
    apps.push(await startApp({ ...settings, METRICS_PORT: "0", WORKERS: "2" }));
    const measured: Result["workers"] = [];
    const { url } = apps[0] as App;
    const etag = (await fetch(`${url}/openapi.json`)).headers.get("ETag") ?? "";
    for (const [name, path, status, headers] of [
      ["/health/live", "/health/live", 200, {}],
      ["304", "/openapi.json", 304, { "If-None-Match": etag }],
      ["401", "/api/user", 401, {}],
    ] as const) {
      const perS: [number[], number[]] = [[], []];
      const response = await fetch(url + path, { headers });
      if (response.status !== status) throw new Error(`GET ${path} responds with ${response.status}, not ${status}`);
      const calls = [{ method: "GET", path, headers }];
      for (let round = 0; round < rounds; round++) {
        for (const [i, { url }] of apps.entries()) {
          const job = { url, calls, tokens, connections, durationS: seconds, once: false, pipelined: PIPELINED };
          perS[i as 0 | 1].push((await load.run(job)).perS);
        }
      }
      measured.push({ name, onePerS: perS[0], twoPerS: perS[1] });
    }
    return measured;
  } finally {
    for (const app of apps) await app.stop();
  }
}

/** Runs `npm start` twice: on an empty folder, and on the data of the first start. */
async function measureStarts(folder: string): Promise<Result["starts"]> {
  const dataDir = join(folder, "start");
  rmSync(dataDir, { recursive: true, force: true });
  const startMs = async (): Promise<number> => {
    const app = await startApp({ DATA_DIR: dataDir, JWT_SECRET }, ["npm", "start"]);
    await app.stop();
    // npm does not forward the signal; the program stops when it notices that npm has exited.
    await untilUnlocked(dataDir);
    return app.startedMs;
  };
  const starts = { emptyFolderMs: await startMs(), existingDataMs: await startMs() };
  rmSync(dataDir, { recursive: true, force: true });
  return starts;
}

async function untilUnlocked(dataDir: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (existsSync(join(dataDir, "postgres.lock.pid")) && performance.now() < deadline) await Bun.sleep(20);
}

/** Measured in this process while it does nothing else. */
function costOfTokens(): Pick<Costs, "knownTokenUs" | "newTokenUs"> {
  const tokens = createTokens(JWT_SECRET, 3600);
  const issued = Array.from({ length: 20_000 }, (_, i) => tokens.issue(String(i + 1), crypto.randomUUID()));
  const costUs = (list: string[]): number => {
    const started = performance.now();
    for (const token of list) tokens.verify(token);
    return ((performance.now() - started) * 1000) / list.length;
  };
  const newTokenUs = costUs(issued);
  const known = Array.from({ length: 20_000 }, (_, i) => issued[issued.length - 1 - (i % 100)] as string);
  costUs(known);
  return { newTokenUs, knownTokenUs: costUs(known) };
}
