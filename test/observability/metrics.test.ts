import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { watchDatabase } from "../../src/db/metrics.ts";
import { openDatabase } from "../../src/db/pool.ts";
import { createMetrics, type Metrics, mergeMetrics } from "../../src/observability/metrics.ts";
import { serveMetrics } from "../../src/observability/metrics-server.ts";
import { type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

describe("metrics", () => {
  let metrics: Metrics;
  let server: TestServer;
  beforeAll(async () => {
    metrics = createMetrics("1.2.3");
    const address = await testDatabase();
    const limits = { connectTimeoutMs: 500, queueTimeoutMs: 500, statementTimeoutMs: 5_000, poolMax: 1 };
    const db = openDatabase(address, limits, metrics);
    watchDatabase(metrics, db);
    server = await testServer({ address, db, observer: metrics });
    stops.push(() => db.close(1_000), metrics.close);
  });
  const stops: (() => unknown)[] = [];
  afterAll(async () => {
    await server.stop();
    for (const stop of stops.reverse()) await stop();
  });

  const series = async (of: Metrics = metrics) => parseSeries(await of.text());

  test("count requests by method, route pattern and status, and measure their duration", async () => {
    const ada = await server.register("ada");
    await server.publish(ada);
    for (let i = 0; i < 3; i++) await server.request("GET", "/api/articles/a-title");
    await server.request("GET", "/api/articles/none");
    const found = await series();
    const of = (status: number) =>
      found.get(`http_requests_total{method="GET",route="/api/articles/:slug",status="${status}"}`);
    expect([of(200), of(404)]).toEqual([3, 1]);
    const route = `method="GET",route="/api/articles/:slug"`;
    expect(found.get(`http_request_duration_seconds_count{${route}}`)).toBe(4);
    expect(found.get(`http_request_duration_seconds_bucket{le="+Inf",${route}}`)).toBe(4);
  });

  test("have a bounded number of series, whatever clients send", async () => {
    const send = async (from: number, methods: string[]) => {
      for (let i = from; i < from + 20; i++) {
        await server.request("GET", `/nothing/${i}`);
        await server.request("GET", `/api/articles/slug-${i}`);
        await server.request("GET", `/api/profiles/name-${i}?x=${i}`);
      }
      for (const method of methods) await server.request(method, "/api/tags");
    };
    await send(0, ["PROPFIND"]);
    const before = (await series()).size;
    await send(100, ["LOCK", "MKCOL", "SEARCH", "REPORT"]);
    expect((await series()).size).toBe(before);
  });

  test("measure statements by name, and count those that fail", async () => {
    await server.request("GET", "/api/tags");
    await server.sql`alter table tags rename column name to other`;
    await server.request("GET", "/api/tags");
    await server.sql`alter table tags rename column other to name`;
    const found = await series();
    expect(found.get(`database_statement_duration_seconds_count{statement="tags"}`)).toBe(2);
    expect(found.get(`database_statement_failures_total{statement="tags"}`)).toBe(1);
    // There before the first failure, so that a rate sees that one.
    expect(found.get(`database_statement_failures_total{statement="comment_delete"}`)).toBe(0);
  });

  test("show the pool: statements in flight, statements waiting, and how long they waited", async () => {
    const ada = await server.register("wait");
    await server.publish(ada, { title: "Waits" });
    const hold = await server.sql.reserve();
    await hold`begin`;
    await hold`lock table articles in access exclusive mode`;
    const writes = [1, 2].map(() => server.request("DELETE", "/api/articles/waits", { token: ada.token }));
    await until(async () => (await series()).get(`database_statements_waiting{pool="write"}`) === 1);
    let found = await series();
    expect(found.get(`database_statements_in_flight{pool="write"}`)).toBe(1);
    expect(found.get(`database_statements_in_flight_max{pool="write"}`)).toBe(1);
    expect(found.get(`database_statements_waiting{pool="write"}`)).toBe(1);
    await hold`rollback`;
    hold.release();
    await Promise.all(writes);
    found = await series();
    expect(found.get(`database_statements_waiting{pool="write"}`)).toBe(0);
    expect(found.get(`database_wait_seconds_count{pool="write"}`)).toBe(1);
  });

  test("show the process, the build, the tables and what was added", async () => {
    // Brings PostgreSQL's estimate up to date.
    await server.sql`analyze article_totals`;
    const fresh = createMetrics("1.2.3");
    watchDatabase(fresh, server.db);
    expect((await series(fresh)).get(`conduit_rows{table="article_totals"}`)).toBe(32);
    fresh.close();
    metrics.gauge({ name: "test_queue", help: "A queue.", value: () => 7 });
    metrics.gauge({ name: "test_unknown", help: "Not known.", value: () => undefined });
    metrics.counter({ name: "test_total", help: "A count.", value: () => 8 });
    const found = await series();
    expect(found.get(`conduit_build_info{version="1.2.3",bun="${Bun.version}"}`)).toBe(1);
    expect(found.get("process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(found.get("process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(found.get("event_loop_delay_p99_seconds")).toBeGreaterThanOrEqual(0);
    expect(found.get(`conduit_rows{table="users"}`)).toBeGreaterThanOrEqual(0);
    expect(found.get("database_up")).toBe(1);
    expect([found.get("test_queue"), found.get("test_unknown"), found.get("test_total")]).toEqual([7, undefined, 8]);
  });

  test("are served on a port of their own, and nowhere else", async () => {
    const http = serveMetrics({ metricsHost: "127.0.0.1", metricsPort: 0, metricsAllowedHosts: [] }, () =>
      metrics.text(),
    );
    try {
      const response = await fetch(`${http.url.origin}/metrics`);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(parseSeries(await response.text()).get("database_up")).toBe(1);
      expect((await fetch(`${http.url.origin}/api/tags`)).status).toBe(404);
      const taken = { metricsHost: "127.0.0.1", metricsPort: http.port ?? 0, metricsAllowedHosts: [] };
      expect(() => serveMetrics(taken, async () => "")).toThrow("Choose another METRICS_PORT");
    } finally {
      await http.stop(true);
    }
    expect((await server.request("GET", "/metrics")).status).toBe(404);
  });

  test("are served under names of their own only, so that no page on the web can read them", async () => {
    const names = { METRICS_ALLOWED_HOSTS: "conduit.svc.example, Other.example", METRICS_HOST: "localhost" };
    const http = serveMetrics({ ...loadConfig(names), metricsPort: 0 }, async () => "up 1\n");
    const statusFor = async (host: string) =>
      (await fetch(`${http.url.origin}/metrics`, { headers: { Host: host } })).status;
    try {
      const allowed = ["localhost", "LOCALHOST:9464", "127.0.0.1:1", "192.0.2.7", "[::1]:9464", "conduit", "my_app:80"];
      for (const host of [...allowed, "conduit.svc.example", "other.example:9464"]) {
        expect([host, await statusFor(host)]).toEqual([host, 200]);
      }
      for (const host of [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a, b",
      ]) {
        expect([host, await statusFor(host)]).toEqual([host, 421]);
      }
    } finally {
      await http.stop(true);
    }
  });

  test("are served while the database hangs, and show it", async () => {
    const proxy = startProxy(await testDatabase());
    const own = createMetrics("1.2.3");
    const limits = { connectTimeoutMs: 5_000, queueTimeoutMs: 5_000, statementTimeoutMs: 20_000, poolMax: 1 };
    const db = openDatabase(proxy.address, limits, own);
    try {
      watchDatabase(own, db);
      expect((await series(own)).get("database_up")).toBe(1);
      proxy.hang();
      expect((await series(own)).get("database_up")).toBe(0);
    } finally {
      proxy.stop();
      await db.close(100);
      own.close();
    }
  });

  test("of several processes are kept apart by their labels", async () => {
    const workers = ["0", "1"].map((worker) => createMetrics("1.2.3", { worker }));
    workers[0]?.onRequest("GET", "/api/tags", 200, 1);
    workers[1]?.onRequest("GET", "/api/tags", 200, 1);
    workers[1]?.onRequest("GET", "/api/tags", 200, 1);
    const found = parseSeries(await mergeMetrics(await Promise.all(workers.map((worker) => worker.snapshot()))));
    const labels = `method="GET",route="/api/tags",status="200"`;
    expect(found.get(`http_requests_total{${labels},worker="0"}`)).toBe(1);
    expect(found.get(`http_requests_total{${labels},worker="1"}`)).toBe(2);
    for (const worker of workers) worker.close();
  });
});

/** Series by name and labels, in Prometheus's text format. */
function parseSeries(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, name, value] = /^([a-z0-9_]+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
      if (name === undefined) throw new Error(`not a series: ${line}`);
      return [name, Number(value)];
    }),
  );
}
