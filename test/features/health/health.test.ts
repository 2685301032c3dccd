import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { read, write } from "../../../src/db/statements.ts";
import { type TestServer, testDatabase, testServer } from "../../support/harness.ts";
import { untilActive } from "../../support/locks.ts";
import { startProxy } from "../../support/proxy.ts";
import { until } from "../../support/until.ts";

type Ready = { status: string; checks: { name: string; status: string; duration_ms: number; error?: string }[] };

describe("health", () => {
  let server: TestServer;
  let cut: TestServer;
  let isDraining = false;
  let proxy: ReturnType<typeof startProxy>;
  beforeAll(async () => {
    server = await testServer({ isDraining: () => isDraining });
    proxy = startProxy(await testDatabase());
    cut = await testServer({
      address: proxy.address,
      limits: { connectTimeoutMs: 300, queueTimeoutMs: 300, statementTimeoutMs: 300 },
    });
  });
  afterAll(async () => {
    await cut.stop();
    proxy.stop();
    await server.stop();
  });

  const ready = async (of: TestServer) => {
    const { status, text, headers } = await of.request("GET", "/health/ready");
    return { status, retryAfter: headers.get("retry-after"), body: JSON.parse(text) as Ready, text };
  };

  test("GET /health says that the server runs and the database is connected", async () => {
    const { status, json } = await server.request("GET", "/health");
    expect(status).toBe(200);
    expect<unknown>(json).toEqual({ status: "ok", message: "Server is running", database: "connected" });
  });

  test("GET /health/ready lists the checks with their durations", async () => {
    const { status, body } = await ready(server);
    expect(status).toBe(200);
    const duration_ms = expect.any(Number);
    expect<unknown>(body).toEqual({
      status: "ok",
      checks: [
        { name: "draining", status: "ok", duration_ms },
        { name: "database", status: "ok", duration_ms },
        { name: "migrations", status: "ok", duration_ms },
        { name: "writable", status: "ok", duration_ms },
      ],
    });
  });

  test("GET /health/ready is 503 while the server drains, and connections close with their answers", async () => {
    isDraining = true;
    const { status, retryAfter, body } = await ready(server);
    const { headers } = await server.request("GET", "/api/tags");
    isDraining = false;
    expect(status).toBe(503);
    expect(retryAfter).toBe("1");
    expect(body.checks[0]).toMatchObject({ name: "draining", status: "error", error: "the server is stopping" });
    expect(headers.get("connection")).toBe("close");
  });

  test("GET /health/ready is 503 where a migration is missing or another; one from a newer version is none of ours", async () => {
    await server.sql`insert into schema_migrations values ('9999', '9999_newer.sql', 'x')`;
    expect((await ready(server)).status).toBe(200);
    await server.sql`update schema_migrations set checksum = 'other' where version = '0006'`;
    const { status, body } = await ready(server);
    expect(status).toBe(503);
    expect(body.checks[2]).toMatchObject({ status: "error", error: "not applied: 0006_articles.sql" });
  });

  test("with the database away, /health/live is as ever, the others are 503 and tell nothing of how it is reached", async () => {
    proxy.refuse();
    const { status, body, text } = await ready(cut);
    expect(status).toBe(503);
    expect(body.checks.map((check) => [check.name, check.status, check.error])).toEqual([
      ["draining", "ok", undefined],
      ["database", "error", "failed"],
      ["migrations", "error", "failed"],
      ["writable", "error", "failed"],
    ]);
    const { password, username } = proxy.address;
    for (const secret of [password, username, "127.0.0.1", "ECONNREFUSED", "POSTGRES"]) {
      if (secret !== "") expect(text.toLowerCase()).not.toContain(secret.toLowerCase());
    }
    expect((await cut.request("GET", "/health")).status).toBe(503);
    const live = await cut.request("GET", "/health/live");
    expect([live.status, live.text]).toEqual([200, '{"status":"ok"}']);
    proxy.restore();
  });

  test("load on the pool does not make the server unready, and all checks together use one connection", async () => {
    const busy = await testServer({ limits: { poolMax: 1, queueTimeoutMs: 300 } });
    const slow = read("health_test_slow", "select pg_sleep(1.5)");
    const slowWrite = write("health_test_slow_write", "select pg_sleep(1.5)");
    // As many as both pools run at a time, and some that wait and time out.
    const load = [...Array(200).fill(slow), ...Array(3).fill(slowWrite)].map((statement) =>
      busy.db.rows(statement, []).catch((error: unknown) => error),
    );
    await untilActive(busy.sql, "pg_sleep", 3);
    const responses = await Promise.all(Array.from({ length: 20 }, () => ready(busy)));
    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect((await busy.request("GET", "/health")).status).toBe(200);
    const [row] = await busy.sql`
      select count(*)::integer as n from pg_stat_activity
       where datname = current_database() and application_name = 'conduit health'`;
    expect(row.n).toBe(1);
    await busy.stop();
    await Promise.all(load);
  });

  test("GET /health/ready is 503 while the database is read-only, and names that check", async () => {
    const turning = await testServer();
    expect((await ready(turning)).status).toBe(200);
    const { database } = turning.address;
    await turning.sql.unsafe(`alter database ${database} set default_transaction_read_only = on`);
    // Sessions keep the default that they began with, so the check has to begin a new one.
    await turning.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'conduit health'`;
    await until(async () => (await ready(turning)).body.checks[3]?.status === "error");
    const { status, body } = await ready(turning);
    expect(status).toBe(503);
    expect(body.checks.map(({ name, status, error }) => [name, status, error])).toEqual([
      ["draining", "ok", undefined],
      ["database", "ok", undefined],
      ["migrations", "ok", undefined],
      ["writable", "error", "the database is read-only"],
    ]);
    await turning.stop();
  });

  test("GET /health/ready is degraded in the first time of an outage, unless there is another problem", async () => {
    let isStopping = false;
    const proxy = startProxy(await testDatabase());
    const options = { address: proxy.address, outageGraceMs: 3_600_000, isDraining: () => isStopping };
    const patient = await testServer({ ...options, limits: { connectTimeoutMs: 300 } });
    expect((await ready(patient)).body.status).toBe("ok");
    proxy.refuse();
    const { status, body, retryAfter } = await ready(patient);
    expect([status, body.status, retryAfter]).toEqual([200, "degraded", null]);
    expect(body.checks.map(({ status }) => status)).toEqual(["ok", "error", "error", "error"]);
    isStopping = true;
    expect((await ready(patient)).status).toBe(503);
    isStopping = false;
    proxy.restore();
    expect((await ready(patient)).body.status).toBe("ok");
    await patient.sql`update schema_migrations set checksum = 'other' where version = '0006'`;
    expect((await ready(patient)).status).toBe(503);
    await patient.stop();
    proxy.stop();
  });

  test("GET /health/ready says so within its own time where the database hangs", async () => {
    const patient = await testServer({ address: proxy.address, limits: { statementTimeoutMs: 20_000 } });
    expect((await ready(patient)).status).toBe(200);
    proxy.hang();
    const { status, body } = await ready(patient);
    expect(status).toBe(503);
    expect(body.checks[1]?.error).toBe("no response within 2,000 ms");
    await patient.stop();
    proxy.restore();
  });
});
