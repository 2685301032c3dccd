// npm run test:balancers: restarts two servers, one after the other, under load behind HAProxy and Caddy, with the files in ops, and
// fails if a request was lost. Then the same with /health/live as the probe, for comparison. Also verifies ops/systemd. Needs the Debian packages haproxy and caddy; skips what is not installed.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { startApp, urlOf } from "../bench/processes.ts";
import { migrations } from "../migrations/index.ts";
import { migrate } from "../src/db/migrations.ts";
import { startEmbedded } from "../src/server/embedded.ts";

/** Longer than two checks of a balancer, as ops say. */
const SHUTDOWN_DELAY_MS = 6_000;
const CLIENTS = 8;
const BALANCERS = {
  HAProxy: { file: "ops/haproxy/haproxy.cfg", command: ["haproxy", "-db", "-f"] },
  Caddy: { file: "ops/caddy/Caddyfile", command: ["caddy", "run", "--adapter", "caddyfile", "--config"] },
};

const root = join(import.meta.dir, "..");
const folder = await mkdtemp(join(tmpdir(), "conduit-balancers-"));
const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
let lost = 0;
try {
  const { address, stop } = await startEmbedded(join(folder, "data"), () => {});
  closers.push(stop);
  await migrate(address, migrations, 10_000);
  console.log("| balancer | probe | requests | failed | slowest, ms |\n| --- | --- | --- | --- | --- |");
  for (const [name, balancer] of Object.entries(BALANCERS)) {
    if (Bun.which(balancer.command[0] ?? "") === null) {
      console.log(`skipped: ${name} is not installed`);
      continue;
    }
    for (const probe of ["/health/ready", "/health/live"]) {
      const { times, failures } = await restartBehind(balancer, probe, urlOf(address));
      if (probe === "/health/ready") lost += failures.length;
      console.log(
        `| ${name} | \`${probe}\` | ${times.length + failures.length} | ${failures.length} | ${Math.max(...times).toFixed(0)} |`,
      );
      for (const failure of new Set(failures)) console.error(`  ${name}, ${probe}: ${failure}`);
    }
  }
  lost += await verifyUnit();
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(lost === 0 ? 0 : 1);

type Outcome = { readonly times: number[]; readonly failures: string[] };

/** Starts two servers and a balancer, and restarts one server after the other while clients send requests. */
async function restartBehind(
  { file, command }: (typeof BALANCERS)["HAProxy"],
  probe: string,
  databaseUrl: string,
): Promise<Outcome> {
  const config = join(folder, "config");
  await Bun.write(config, (await Bun.file(join(root, file)).text()).replace("/health/ready", probe));
  const ports = { a: freePort(), b: freePort(), balancer: freePort() };
  const start = (port: number) =>
    startApp({
      DATABASE_URL: databaseUrl,
      PORT: String(port),
      JWT_SECRET: "a secret for tests, which is 32 bytes or more",
      SHUTDOWN_DELAY: `${SHUTDOWN_DELAY_MS}ms`,
      TRUSTED_PROXIES: "127.0.0.0/8",
      RATE_LIMITS: "off",
      LOG_LEVEL: "silent",
    });
  const servers = { a: await start(ports.a), b: await start(ports.b) };
  const proxy = Bun.spawn([...command, config], {
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      CONDUIT_A: `127.0.0.1:${ports.a}`,
      CONDUIT_B: `127.0.0.1:${ports.b}`,
      CONDUIT_BIND: `127.0.0.1:${ports.balancer}`,
      CONDUIT_SITE: `http://127.0.0.1:${ports.balancer}`,
    },
    stdio: ["ignore", Bun.file(join(folder, "proxy.log")), Bun.file(join(folder, "proxy.err"))],
  });
  try {
    const url = `http://127.0.0.1:${ports.balancer}`;
    while (!(await fetch(`${url}/health/ready`).catch(() => undefined))?.ok) {
      if (proxy.exitCode !== null) throw new Error(await Bun.file(join(folder, "proxy.err")).text());
      await Bun.sleep(50);
    }
    const load = startLoad(url);
    await Bun.sleep(1_000);
    for (const name of ["a", "b"] as const) {
      const stopping = servers[name].stop();
      await verifyProbes(`http://127.0.0.1:${ports[name]}`);
      await stopping;
      servers[name] = await start(ports[name]);
      // Until the balancer has seen that it is back, so that one is always in use.
      await Bun.sleep(5_000);
    }
    return await load.stop();
  } finally {
    await Promise.all([end(proxy), servers.a.stop(), servers.b.stop()]);
  }
}

/** While a server is stopping, the one probe takes it out of a balancer, and the other one does not. */
async function verifyProbes(url: string): Promise<void> {
  while ((await fetch(`${url}/health/ready`)).status !== 503) await Bun.sleep(20);
  const { status } = await fetch(`${url}/health/live`);
  if (status !== 200) throw new Error(`/health/live is ${status} while the server is stopping`);
}

/** Clients that register, and then read, publish and favorite, one request after the other. */
function startLoad(url: string): { stop(): Promise<Outcome> } {
  const outcome: Outcome = { times: [], failures: [] };
  let isStopped = false;
  const send = async (method: string, path: string, token?: string, body?: unknown): Promise<Response | undefined> => {
    const started = performance.now();
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (token !== undefined) headers.Authorization = `Token ${token}`;
    try {
      const response = await fetch(url + path, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
      const text = await response.text();
      if (response.status >= 400) throw new Error(`${response.status} ${text.slice(0, 100)}`);
      outcome.times.push(performance.now() - started);
      return new Response(text);
    } catch (error) {
      outcome.failures.push(`${method} ${path.replace(/\d+/g, "N")}: ${(error as Error).message}`);
      return undefined;
    }
  };
  const client = async (number: number) => {
    const name = `client${number}x${Date.now().toString(36)}`;
    const user = { username: name, email: `${name}@example.com`, password: `${name} secret` };
    const registered = (await (await send("POST", "/api/users", undefined, { user }))?.json()) as
      | { user: { token: string } }
      | undefined;
    const token = registered?.user.token;
    for (let i = 0; !isStopped; i++) {
      await send("GET", "/api/articles", i % 2 === 0 ? token : undefined);
      const article = { title: `${name} ${i}`, description: "d", body: "b", tagList: ["tea"] };
      if (i % 10 === 0) await send("POST", "/api/articles", token, { article });
      const slug = `${name}-${i - (i % 10)}`;
      await send(i % 2 === 0 ? "POST" : "DELETE", `/api/articles/${slug}/favorite`, token);
    }
  };
  const clients = Array.from({ length: CLIENTS }, (_, i) => client(i));
  return {
    async stop() {
      isStopped = true;
      await Promise.all(clients);
      return outcome;
    },
  };
}

/** @returns the number of problems */
async function verifyUnit(): Promise<number> {
  if (Bun.which("systemd-analyze") === null) {
    console.log("skipped: systemd-analyze is not installed");
    return 0;
  }
  const unit = join(folder, "conduit@3000.service");
  const text = await Bun.file(join(root, "ops/systemd/conduit@.service")).text();
  // It complains about programs that are not installed.
  await Bun.write(
    unit,
    text.replaceAll("/usr/local/bin/conduit", "/bin/true").replaceAll("/usr/bin/curl", "/bin/true"),
  );
  const verified = Bun.spawnSync(["systemd-analyze", "verify", unit]);
  const problems = verified.stderr.toString().trim();
  console.log(problems === "" ? "systemd-analyze verify: no problem" : problems);
  return problems === "" ? 0 : 1;
}

/** Below 32768, as outgoing connections take the others. */
function freePort(): number {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => {} } }).stop(true);
      return port;
    } catch {
      // Taken.
    }
  }
}

async function end(child: Subprocess): Promise<void> {
  child.kill("SIGTERM");
  await child.exited;
}
