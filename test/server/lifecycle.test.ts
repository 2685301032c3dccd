import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { connectionOptions } from "../../src/db/pool.ts";
import { listenError } from "../../src/server/server.ts";
import { connect, testDatabase, testPostgres } from "../support/harness.ts";
import { type Served, serve, stopServed } from "../support/serve.ts";

setDefaultTimeout(60_000);

let address: DatabaseAddress;
beforeAll(async () => {
  address = await testDatabase();
});
afterAll(stopServed);

describe("a stop", () => {
  test("makes the server unready first, then lets requests in flight finish, then exits with 0", async () => {
    const sql = new SQL(connectionOptions(address, 1, {}));
    const hold = await sql.reserve();
    try {
      await hold`begin`;
      await hold`lock table users in exclusive mode`;
      const served = await serve(address, { SHUTDOWN_DELAY: "700ms", SHUTDOWN_TIMEOUT: "20s" });
      const user = { username: "slow", email: "slow@example.com", password: "correct horse" };
      const slow = fetch(`${served.url}/api/users`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ user }),
      });
      await untilLocked(sql);
      served.kill("SIGTERM");
      await untilStopping(served);

      const ready = await fetch(`${served.url}/health/ready`);
      expect(ready.status).toBe(503);
      expect(ready.headers.get("connection")).toBe("close");
      expect(await ready.json()).toMatchObject({ checks: [{ name: "draining", status: "error" }, {}, {}, {}] });
      // Until the listener closes, it responds as before.
      expect((await fetch(`${served.url}/api/articles`)).status).toBe(200);

      while ((await statusOf(`${served.url}/health/live`)) !== undefined) await Bun.sleep(20);
      await hold`rollback`;
      expect((await slow).status).toBe(201);
      expect(await served.exited).toBe(0);
      // The last line is not lost.
      expect(served.output()).toContain('"http.route":"/api/users","http.response.status_code":201');
    } finally {
      hold.release();
      await sql.close({ timeout: 0 });
    }
  });

  test("does not wait longer than SHUTDOWN_TIMEOUT for requests in flight", async () => {
    const sql = new SQL(connectionOptions(address, 1, {}));
    const hold = await sql.reserve();
    try {
      await hold`begin`;
      await hold`lock table tags in access exclusive mode`;
      const served = await serve(address, { SHUTDOWN_TIMEOUT: "200ms", DATABASE_STATEMENT_TIMEOUT: "1s" });
      const slow = fetch(`${served.url}/api/tags`).then(
        () => "responded",
        () => "cut",
      );
      await untilLocked(sql);
      served.kill("SIGINT");
      expect(await served.exited).toBe(0);
      expect(await slow).toBe("cut");
      await hold`rollback`;
    } finally {
      hold.release();
      await sql.close({ timeout: 0 });
    }
  });

  test("is immediate at the second signal", async () => {
    const served = await serve(address, { SHUTDOWN_DELAY: "10m" });
    served.kill("SIGTERM");
    await untilStopping(served);
    // Two signals within a quarter of a second count as one.
    const repeat = setInterval(() => served.kill("SIGTERM"), 100);
    expect(await served.exited).toBe(128 + 15);
    clearInterval(repeat);
  });
});

// As load balancers do. docs/decisions/0010-workers.md describes the risk for connections opened at that moment.
test("a restart of one of two servers on one port drops no request of clients that keep their connections", async () => {
  const settings = { REUSE_PORT: "yes", SHUTDOWN_DELAY: "500ms" };
  const first = await serve(address, settings);
  const port = new URL(first.url).port;
  const load = startLoad(first.url);
  const second = await serve(address, { ...settings, PORT: port });
  first.kill("SIGTERM");
  expect(await first.exited).toBe(0);
  const third = await serve(address, { ...settings, PORT: port });
  second.kill("SIGTERM");
  expect(await second.exited).toBe(0);
  while (!third.output().includes('"http.route":"/api/articles"')) await Bun.sleep(20);
  const { sent, failed } = await load.stop();
  if (process.env.SHOW)
    console.log(`one of two restarted, then the other: ${sent} requests sent, ${failed.length} failed`);
  expect(failed).toEqual([]);
  expect(sent).toBeGreaterThan(100);
  // Both received requests.
  for (const { output } of [first, second, third]) expect(output()).toContain('"http.route":"/api/articles"');
  third.kill("SIGTERM");
  expect(await third.exited).toBe(0);
});

describe("workers", () => {
  let served: Served;
  beforeAll(async () => {
    // A request that finished while its server stopped may have left its mail, which these do not send.
    await connect(address)`delete from graphile_worker._private_jobs`;
    served = await serve(address, { WORKERS: "2", NODE_ENV: "production" });
  });

  test("warn once that there is no mail server, in production, and return 503 for what needs one", async () => {
    const warnings = served.output().match(/SMTP_URL is not set/g);
    expect(warnings).toHaveLength(1);
    const response = await fetch(`${served.url}/api/auth/forgot-password`, {
      method: "POST",
      body: JSON.stringify({ email: "anna@example.com" }),
    });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      errors: { mail: ["cannot be sent: no mail server is configured"] },
    });
    expect((await fetch(`${served.url}/dev/mail`)).status).toBe(404);
  });

  test("serve one port, each with its own connections, and one other port has their metrics", async () => {
    for (let i = 0; i < 40; i++) await fetch(`${served.url}/api/tags`, { headers: { Connection: "close" } });
    const series = await metricsOf(served);
    const of = (worker: string) =>
      series.get(`http_requests_total{method="GET",route="/api/tags",status="200",worker="${worker}"}`) ?? 0;
    expect(of("0") + of("1")).toBe(40);
    expect(of("0")).toBeGreaterThan(0);
    expect(of("1")).toBeGreaterThan(0);
    expect(series.get(`conduit_workers{worker="supervisor"}`)).toBe(2);
    // The metrics of the features are there too.
    for (const name of ["password_hashes_waiting", "password_hashes_in_flight", "mail_queue_waiting"]) {
      expect(series.get(`${name}{worker="0"}`)).toBe(0);
    }
  });

  test("accept each other's tokens, and receive no secret by command line or a new environment variable", async () => {
    const user = { username: "ada", email: "ada@example.com", password: "correct horse" };
    const made = await fetch(`${served.url}/api/users`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Connection: "close" },
      body: JSON.stringify({ user }),
    });
    const token = ((await made.json()) as { user: { token: string } }).user.token;
    const headers = { Authorization: `Bearer ${token}`, Connection: "close" };
    for (let i = 0; i < 10; i++) expect((await fetch(`${served.url}/api/user`, { headers })).status).toBe(200);
    for (const pid of workersOf(served)) {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      expect(command).not.toContain("postgres");
      if (address.password !== "") expect(command).not.toContain(address.password);
    }
  });

  test("are replaced when they crash, and the others continue", async () => {
    const before = workersOf(served);
    process.kill(before[0] ?? 0, "SIGKILL");
    while (
      workersOf(served).length < 2 ||
      (await metricsOf(served)).get(`conduit_workers{worker="supervisor"}`) !== 2
    ) {
      await Bun.sleep(50);
    }
    expect(workersOf(served)).toContain(before[1] ?? 0);
    expect((await metricsOf(served)).get(`conduit_worker_restarts_total{worker="supervisor"}`)).toBe(1);
    expect(served.output()).toContain("worker exited unexpectedly (signal SIGKILL), starting another");
  });

  test("write whole lines, only JSON in production, each with its worker", async () => {
    await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        fetch(`${served.url}/api/articles?tag=${i}`, { headers: { "X-Request-Id": `${i}-${"x".repeat(100)}` } }),
      ),
    );
    // The log is written a tenth of a second later at the latest.
    while ((served.output().match(/-x{100}"/g) ?? []).length < 300) await Bun.sleep(20);
    const lines = served
      .output()
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
    const workers = new Set(lines.map(({ worker }) => worker).filter((worker) => worker !== undefined));
    expect([...workers].sort()).toEqual([0, 1]);
    expect(lines.filter((line) => line["request.id"]?.endsWith("xx")).length).toBe(300);
  });

  test("put their number into the lines of what libraries write", async () => {
    const { admin } = await testPostgres();
    const sql = connect(admin, 1);
    const listening = () =>
      sql`select pg_terminate_backend(pid) from pg_stat_activity
           where datname = ${address.database} and application_name = 'conduit listen'`;
    const written = () => served.output().match(/.*bun:sql LISTEN.*/g) ?? [];
    // The driver tries to listen again, and writes that it cannot.
    await sql.unsafe(`alter database ${address.database} allow_connections false`);
    try {
      await listening();
      while (written().length < 2) await Bun.sleep(20);
    } finally {
      await sql.unsafe(`alter database ${address.database} allow_connections true`);
    }
    for (const line of written()) expect([0, 1]).toContain(JSON.parse(line).worker);
    while ((await fetch(`${served.url}/health/ready`)).status !== 200) await Bun.sleep(20);
  });

  test("stop on SIGTERM to their supervisor, and drop no request", async () => {
    const workers = workersOf(served);
    served.kill("SIGTERM");
    expect(await served.exited).toBe(0);
    expect(workers.filter(isThere)).toEqual([]);
  });

  test("exit when their supervisor is killed", async () => {
    const other = await serve(address, { WORKERS: "2" });
    const workers = workersOf(other);
    expect(workers.length).toBe(2);
    other.kill("SIGKILL");
    while (workers.some(isThere)) await Bun.sleep(50);
  });

  test("report in one line a port that another program uses, even with REUSE_PORT", async () => {
    const blocker = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    try {
      await expect(serve(address, { WORKERS: "2", PORT: String(blocker.port), REUSE_PORT: "yes" })).rejects.toThrow(
        `Port ${blocker.port} is taken by another program`,
      );
    } finally {
      await blocker.stop(true);
    }
  });
});

describe("a port in use", () => {
  test.each(["1", "2"])("is reported before anything is created, with WORKERS=%s", async (WORKERS) => {
    const folder = await mkdtemp(join(tmpdir(), "conduit-port-"));
    const blocker = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    const port = blocker.port ?? 0;
    try {
      const DATA_DIR = join(folder, "data");
      // Without DATABASE_URL, the server would create its own database in DATA_DIR.
      const settings = { WORKERS, PORT: String(port), DATA_DIR, DATABASE_URL: "", JWT_SECRET: "" };
      const message = `Port ${port} is taken by another program. Stop that one, or choose another port: --port=${port + 1} or PORT=${port + 1}.`;
      await expect(serve(address, settings)).rejects.toThrow(new Error(`the server did not start:\n${message}\n`));
      expect(existsSync(DATA_DIR)).toBe(false);
    } finally {
      await blocker.stop(true);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

test("a port that this user may not listen on is no wrong HOST", () => {
  const denied = Object.assign(new Error("Failed to listen at localhost"), { code: "EACCES" });
  expect(listenError(denied, "localhost", 80).message).toBe(
    "This user may not listen on port 80. Choose a port above 1023: --port=3000 or PORT=3000.",
  );
});

/** Requests at a steady, bounded pace, on connections that are kept as long as the server keeps them. */
function startLoad(url: string) {
  const failed: string[] = [];
  let sent = 0;
  let goesOn = true;
  const clients = Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let i = 0; goesOn && i < 2_000; i++) {
        sent++;
        try {
          const response = await fetch(`${url}/api/articles`);
          await response.text();
          if (response.status !== 200) failed.push(String(response.status));
        } catch (error) {
          failed.push(String(error));
        }
        await Bun.sleep(20);
      }
    }),
  );
  return {
    async stop() {
      goesOn = false;
      await clients;
      return { sent, failed };
    },
  };
}

async function untilLocked(sql: SQL): Promise<void> {
  const other = new SQL({ ...sql.options, max: 1 } as SQL.Options);
  try {
    for (;;) {
      const [row] = await other`select count(*)::integer as waiting from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      if (row.waiting > 0) return;
      await Bun.sleep(20);
    }
  } finally {
    await other.close({ timeout: 0 });
  }
}

async function untilStopping(served: Served): Promise<void> {
  while (!served.output().includes("Stopping …")) await Bun.sleep(10);
}

async function statusOf(url: string): Promise<number | undefined> {
  return await fetch(url, { headers: { Connection: "close" } }).then(
    ({ status }) => status,
    () => undefined,
  );
}

async function metricsOf(served: Served): Promise<Map<string, number>> {
  const text = await (await fetch(served.metricsUrl)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

function workersOf({ pid }: Served): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

function isThere(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
