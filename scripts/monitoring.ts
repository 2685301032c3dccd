// npm run monitoring: checks the alert rules and the dashboard in ops/ against a real Prometheus that scrapes a running
// server. Each expression must find series, no rule may fire for a healthy server, and an alert must fire when the server
// stops. Not a part of npm test: it needs Prometheus (Debian: apt-get install prometheus) and half a minute.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = dirname(import.meta.dir);
const ops = join(root, "ops");
const WAIT_MAX_MS = 60_000;

if (Bun.which("prometheus") === null || Bun.which("promtool") === null) {
  console.log("skipped: Prometheus is not installed (Debian: apt-get install prometheus)");
  process.exit(0);
}

let failed = 0;
const folder = await mkdtemp(join(tmpdir(), "conduit-monitoring-"));
const children: Bun.Subprocess[] = [];
try {
  promtool("check", "rules", join(ops, "prometheus/alerts.yml"));
  promtool("check", "config", join(ops, "prometheus/prometheus.yml"));
  promtool("test", "rules", join(ops, "prometheus/alerts.test.yml"));

  const server = await startServer();
  const prometheus = await startPrometheus(new URL(server.metricsUrl).host);
  await drive(server.url, 10_000);

  for (const { where, expression } of await dashboardExpressions()) {
    const found = await query(
      prometheus,
      expression.replaceAll("$job", "conduit").replaceAll("$__rate_interval", "10s"),
    );
    report(
      `dashboard: ${where}`,
      found.some((value) => Number.isFinite(value)) ? undefined : `finds nothing: ${expression}`,
    );
  }
  for (const rule of await rules(prometheus)) {
    const missing: string[] = [];
    for (const metric of new Set(
      rule.query.match(/\b(up|(http|database|conduit|process|event|mail|memory|password)_[a-z0-9_]+)\b/g),
    )) {
      if ((await query(prometheus, `count(${metric})`)).length === 0) missing.push(metric);
    }
    const fault =
      rule.health !== "ok" ? rule.lastError : missing.length > 0 ? `nobody sends ${missing.join(", ")}` : undefined;
    report(
      `alert: ${rule.name}`,
      fault ?? (rule.state === "inactive" ? undefined : `is ${rule.state} while all is well`),
    );
  }

  server.child.kill("SIGTERM");
  await server.child.exited;
  await until(async () =>
    (await rules(prometheus)).some(({ name, state }) => name === "ConduitDown" && state !== "inactive"),
  );
  report("alert: ConduitDown notices that the server ended", undefined);
} finally {
  for (const child of children.reverse()) {
    child.kill("SIGTERM");
    await child.exited;
  }
  await rm(folder, { recursive: true, force: true });
}
process.exit(failed === 0 ? 0 : 1);

function report(what: string, fault: string | undefined): void {
  console.log(`${fault === undefined ? "ok    " : "FAILED"} ${what}${fault === undefined ? "" : `\n  ${fault}`}`);
  if (fault !== undefined) failed++;
}

function promtool(...args: string[]): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["promtool", ...args]);
  report(`promtool ${args[0]} ${args[1]}`, exitCode === 0 ? undefined : `${stdout}${stderr}`);
}

async function startServer() {
  const child = Bun.spawn([process.execPath, join(root, "src/main.ts"), "serve"], {
    env: {
      PATH: process.env.PATH ?? "",
      HOST: "127.0.0.1",
      PORT: "0",
      METRICS_PORT: "0",
      WORKERS: "2",
      LOG_LEVEL: "warn",
      LOG_FORMAT: "pretty",
      DATA_DIR: join(folder, "data"),
    },
    stdout: "pipe",
    stderr: "inherit",
  });
  children.push(child);
  let output = "";
  void (async () => {
    for await (const chunk of child.stdout) output += Buffer.from(chunk).toString();
  })();
  await until(async () => /Server is running on \S+\n/.test(output));
  const find = (pattern: RegExp) => pattern.exec(output)?.[1] ?? "";
  return { child, url: find(/Server is running on (\S+)/), metricsUrl: find(/Metrics are on (\S+)/) };
}

/** Prometheus with the rules of ops/ and a shorter interval. */
async function startPrometheus(target: string): Promise<string> {
  const config = (await Bun.file(join(ops, "prometheus/prometheus.yml")).text())
    .replaceAll("15s", "1s")
    .replace("alerts.yml", join(ops, "prometheus/alerts.yml"))
    .replace("localhost:9464", target);
  await Bun.write(join(folder, "prometheus.yml"), config);
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const address = `127.0.0.1:${probe.port}`;
  probe.stop(true);
  children.push(
    Bun.spawn(
      [
        "prometheus",
        `--config.file=${join(folder, "prometheus.yml")}`,
        `--storage.tsdb.path=${join(folder, "tsdb")}`,
        `--web.listen-address=${address}`,
        "--log.level=error",
      ],
      { stdout: "inherit", stderr: "inherit" },
    ),
  );
  const url = `http://${address}`;
  await until(async () => (await query(url, 'up{job="conduit"}').catch(() => []))[0] === 1);
  return url;
}

/** A few requests of every kind, slowly. */
async function drive(url: string, forMs: number): Promise<void> {
  const send = async (method: string, path: string, token?: string, body?: unknown) => {
    const answer = await fetch(url + path, {
      method,
      headers: {
        "Content-Type": "application/json",
        Connection: "close",
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const ends = performance.now() + forMs;
  for (let i = 0; performance.now() < ends; i++) {
    const user = { username: `user${i}`, email: `user${i}@example.com`, password: "correct horse" };
    const { token } = JSON.parse((await send("POST", "/api/users", undefined, { user })).text).user;
    await send("POST", "/api/users/login", undefined, { user });
    await send("POST", "/api/users/login", undefined, { user: { ...user, password: "wrong horse" } });
    const article = { title: `Title ${i}`, description: "d", body: "b", tagList: ["tag"] };
    await send("POST", "/api/articles", token, { article });
    for (const path of ["/api/articles", `/api/articles/title-${i}`, "/api/tags", "/health/ready", "/nothing"]) {
      await send("GET", path, token);
    }
    await Bun.sleep(50);
  }
}

async function dashboardExpressions(): Promise<{ where: string; expression: string }[]> {
  const dashboard = await Bun.file(join(ops, "grafana/dashboards/conduit.json")).json();
  const panels: { title: string; targets?: { expr: string }[] }[] = dashboard.panels;
  const annotations: { name: string; expr: string }[] = dashboard.annotations.list;
  return [
    ...panels.flatMap(({ title, targets }) => (targets ?? []).map(({ expr }) => ({ where: title, expression: expr }))),
    // Its condition is left out, because the marked event need not have happened.
    ...annotations.map(({ name, expr }) => ({ where: name, expression: expr.replace(/ > 0$/, "") })),
  ];
}

async function query(prometheus: string, expression: string): Promise<number[]> {
  const answer = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(expression)}`);
  const { status, data, error } = (await answer.json()) as {
    status: string;
    error?: string;
    data: { result: { value: [number, string] }[] };
  };
  if (status !== "success") throw new Error(`${expression}: ${error}`);
  return data.result.map(({ value }) => Number(value[1]));
}

type Rule = { name: string; query: string; health: string; state: string; lastError?: string };

async function rules(prometheus: string): Promise<Rule[]> {
  const answer = (await (await fetch(`${prometheus}/api/v1/rules`)).json()) as {
    data: { groups: { rules: Rule[] }[] };
  };
  return answer.data.groups.flatMap((group) => group.rules);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const ends = performance.now() + WAIT_MAX_MS;
  while (!(await isSo())) {
    if (performance.now() > ends) throw new Error(`not true within ${WAIT_MAX_MS / 1000} s: ${isSo}`);
    await Bun.sleep(200);
  }
}
