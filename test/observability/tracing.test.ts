import { afterAll, afterEach, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { read } from "../../src/db/statements.ts";
import { createTracing, type Tracing } from "../../src/observability/tracing.ts";
import { observeStatements, openTracing } from "../../src/server/telemetry.ts";
import { attributesOf, type Collector, type SpanJson, startCollector } from "../support/collector.ts";
import { type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

setDefaultTimeout(60_000);

const PARENT = "4bf92f3577b34da6a3ce929d0e0e4736";
const SERVER = 2;
const CLIENT = 3;
const INTERNAL = 1;
const ERROR = 2;

const warnings: string[] = [];
const log = {
  debug: () => {},
  info: () => {},
  warn: (_: object, message: string) => void warnings.push(message),
  error: () => {},
};

let collector: Collector;
beforeAll(() => {
  collector = startCollector();
});
afterAll(async () => {
  await collector.stop();
  await stopServed();
});

const stops: (() => Promise<unknown>)[] = [];
beforeEach(() => {
  collector.requests.length = 0;
  warnings.length = 0;
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** The traces of a process with these variables in its environment. */
async function traces(env: Record<string, string>): Promise<Tracing> {
  const all = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...env };
  Object.assign(process.env, all);
  try {
    const tracing = await createTracing({ protocol: "http/json", serviceVersion: "1.2.3", log });
    stops.push(tracing.close);
    return tracing;
  } finally {
    for (const name of Object.keys(all)) delete process.env[name];
  }
}

async function tracedServer(
  env: Record<string, string> = {},
): Promise<{ tracing: Tracing; server: TestServer; db: Database }> {
  const tracing = await traces(env);
  const address = await testDatabase();
  const limits = { connectTimeoutMs: 500, queueTimeoutMs: 500, statementTimeoutMs: 500, poolMax: 1 };
  const db = openDatabase(address, limits, observeStatements(undefined, tracing, address));
  // Each request runs its statement.
  const server = await testServer({ address, db, tracer: tracing, memory: { bytesMax: 0 } });
  stops.push(server.stop, () => db.close(1_000));
  return { tracing, server, db };
}

const times = ({ startTimeUnixNano, endTimeUnixNano }: SpanJson) => [
  BigInt(startTimeUnixNano),
  BigInt(endTimeUnixNano),
];

test("a request has a span in its caller's trace, and its statement one within, by the semantic conventions", async () => {
  const { tracing, server } = await tracedServer();
  const ada = await server.register("ada");
  await server.publish(ada);
  const { text } = await server.request("GET", "/api/articles/a-title?token=secret", {
    token: ada.token,
    headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-01`, "X-Request-Id": "r-1", "User-Agent": "test/1.0" },
  });
  await tracing.close();

  const [statement, request, ...others] = collector.spans().filter(({ traceId }) => traceId === PARENT);
  if (request === undefined || statement === undefined) throw new Error("spans are missing");
  expect(others).toEqual([]);
  expect(request).toMatchObject({
    name: "GET /api/articles/:slug",
    kind: SERVER,
    parentSpanId: "00f067aa0ba902b7",
    status: { code: 0 },
  });
  expect(attributesOf(request)).toEqual({
    "http.request.method": "GET",
    "http.route": "/api/articles/:slug",
    "http.response.status_code": 200,
    "http.response.body.size": Buffer.byteLength(text),
    "url.scheme": "http",
    "url.path": "/api/articles/a-title",
    "server.address": "127.0.0.1",
    "server.port": Number(new URL(server.url).port),
    "client.address": "127.0.0.1",
    "user_agent.original": "test/1.0",
    "request.id": "r-1",
    "user.id": "1",
  });
  expect(statement).toMatchObject({
    name: "article_by_slug",
    kind: CLIENT,
    parentSpanId: request.spanId,
    status: { code: 0 },
  });
  expect(attributesOf(statement)).toEqual({
    "db.system.name": "postgresql",
    "db.namespace": server.address.database,
    "db.query.summary": "article_by_slug",
    "db.query.text": expect.stringContaining("$1"),
    "server.address": server.address.socketPath ?? server.address.hostname,
    ...(server.address.socketPath === undefined ? { "server.port": server.address.port } : {}),
  });
  const [began, ended] = times(request) as [bigint, bigint];
  const [sent, received] = times(statement) as [bigint, bigint];
  expect(Math.abs(Number(BigInt(Date.now()) - ended / 1_000_000n))).toBeLessThan(20_000);
  expect([began <= sent, sent < received, received <= ended]).toEqual([true, true, true]);
  expect(JSON.stringify(collector.spans())).not.toContain("token=secret");
});

test("a failed statement and its request have the error, and a path that is no route's has no route", async () => {
  const { tracing, server } = await tracedServer();
  await server.request("GET", "/nothing");
  await server.request("PROPFIND", "/api/tags");
  await server.sql`alter table tags rename column name to other`;
  await server.request("GET", "/api/tags");
  await tracing.close();

  const [nothing, unknown, statement, request] = collector.spans();
  if (nothing === undefined || unknown === undefined) throw new Error("spans are missing");
  expect([nothing.name, attributesOf(nothing)["http.route"]]).toEqual(["GET", undefined]);
  expect([nothing.status.code, attributesOf(nothing)["error.type"]]).toEqual([0, undefined]);
  expect([unknown.name, attributesOf(unknown)["http.request.method"]]).toEqual(["HTTP", "_OTHER"]);
  expect(attributesOf(unknown)["http.request.method_original"]).toBe("PROPFIND");
  expect([statement?.name, statement?.status.code]).toEqual(["tags", ERROR]);
  expect(attributesOf(statement as SpanJson)).toMatchObject({
    "db.response.status_code": "42703",
    "error.type": "42703",
  });
  expect([request?.name, request?.status.code]).toEqual(["GET /api/tags", ERROR]);
  expect(attributesOf(request as SpanJson)["error.type"]).toBe("500");
});

const ONE = read<{ one: number }>("tracing_test_one", "select 1 as one");

test("work that no request waits for has a trace of its own, with the statements of its transactions", async () => {
  const { tracing, db } = await tracedServer();
  await db.rows(ONE, []);
  const work = () => db.transaction((tx) => tx.row(ONE, []));
  expect(await tracing.inTrace("do it", { "job.name": "test" }, work)).toEqual({ one: 1 });
  const failing = tracing.inTrace("fail", {}, () =>
    tracing.inTrace("within", {}, () => Promise.reject(new TypeError())),
  );
  expect(failing).rejects.toThrow(TypeError);
  await failing.catch(() => {});
  await tracing.close();

  const [statement, doIt, within, fail, ...others] = collector.spans();
  // Not the statement outside any trace.
  expect(others).toEqual([]);
  expect([doIt?.name, doIt?.kind, doIt?.parentSpanId]).toEqual(["do it", INTERNAL, undefined]);
  expect(attributesOf(doIt as SpanJson)).toEqual({ "job.name": "test" });
  expect(statement).toMatchObject({ traceId: doIt?.traceId, parentSpanId: doIt?.spanId, name: "tracing_test_one" });
  expect([fail?.name, fail?.status.code]).toEqual(["fail", ERROR]);
  expect(attributesOf(fail as SpanJson)).toEqual({ "error.type": "TypeError" });
  expect(within?.parentSpanId).toBeUndefined();
  expect(new Set([doIt, within, fail].map((span) => span?.traceId)).size).toBe(3);
});

test("statements of transactions that wait for each other stay in their own traces", async () => {
  const { tracing, db } = await tracedServer();
  const twice = () =>
    db.transaction(async (tx) => {
      await tx.row(ONE, []);
      await tx.row(ONE, []);
    });
  // One connection for all.
  await Promise.all(["a", "b", "c"].map((name) => tracing.inTrace(name, {}, twice)));
  await tracing.close();
  const roots = collector.spans().filter(({ kind }) => kind === INTERNAL);
  const children = (root: SpanJson) => collector.spans().filter(({ parentSpanId }) => parentSpanId === root.spanId);
  expect(roots.map((root) => [root.name, children(root).length])).toEqual([
    ["a", 2],
    ["b", 2],
    ["c", 2],
  ]);
});

test("a trace is recorded as its caller decided, and by OTEL_TRACES_SAMPLER if it has no caller", async () => {
  const { tracing, server } = await tracedServer({
    OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
    OTEL_TRACES_SAMPLER_ARG: "0",
  });
  await server.request("GET", "/api/tags");
  await server.request("GET", "/api/tags", { headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-01` } });
  await tracing.close();
  expect(collector.spans().map(({ name, traceId }) => [name, traceId])).toEqual([
    ["tags", PARENT],
    ["GET /api/tags", PARENT],
  ]);
  const all = await tracedServer();
  await all.server.request("GET", "/api/tags", { headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-00` } });
  await all.tracing.close();
  expect(collector.spans().length).toBe(2);
});

test("a malformed traceparent begins a trace of its own", async () => {
  const { tracing, server } = await tracedServer();
  for (const traceparent of ["x", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`, `ff-${PARENT}-00f067aa0ba902b7-01`]) {
    await server.request("GET", "/health/live", { headers: { traceparent } });
  }
  await tracing.close();
  expect(collector.spans().length).toBe(3);
  for (const { traceId, parentSpanId } of collector.spans()) {
    expect(traceId).toMatch(/^[0-9a-f]{32}$/);
    expect([traceId === PARENT, parentSpanId]).toEqual([false, undefined]);
  }
});

test("a collector that cannot be reached costs the spans and a warning, but no request and no long wait", async () => {
  const { tracing, server } = await tracedServer({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" });
  expect((await server.request("GET", "/api/tags")).status).toBe(200);
  const started = performance.now();
  await tracing.close();
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(warnings).toEqual(["cannot send the last traces in time"]);
});

test("the SDK obeys its standard variables", async () => {
  const tracing = await traces({
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/elsewhere`,
    OTEL_EXPORTER_OTLP_HEADERS: "x-key=a%20secret",
    OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    OTEL_SERVICE_NAME: "blog",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "1",
    OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT: "3",
  });
  for (const name of ["first", "second"]) await tracing.inTrace(name, { text: "long" }, async () => {});
  await tracing.close();
  const [request, ...others] = collector.requests;
  expect(others.length).toBe(1);
  expect([request?.path, request?.headers.get("x-key"), request?.headers.get("content-encoding")]).toEqual([
    "/elsewhere",
    "a secret",
    "gzip",
  ]);
  expect(collector.resources()[0]).toMatchObject({
    "service.name": "blog",
    "service.version": "1.2.3",
    "deployment.environment.name": "test",
  });
  expect(collector.spans().map(attributesOf)).toEqual([{ text: "lon" }, { text: "lon" }]);
  expect(warnings).toEqual([]);
});

test("traces are on if there is an endpoint or OTEL_TRACES_EXPORTER=otlp, unless they are turned off", async () => {
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const isOn = async (env: Record<string, string>) => {
    const tracing = await openTracing(loadConfig(env), log);
    await tracing?.close();
    return tracing !== undefined;
  };
  expect(await isOn({})).toBe(false);
  expect(await isOn({ OTEL_SERVICE_NAME: "conduit" })).toBe(false);
  expect(await isOn(endpoint)).toBe(true);
  expect(await isOn({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces` })).toBe(true);
  expect(await isOn({ OTEL_TRACES_EXPORTER: "otlp" })).toBe(true);
  expect(await isOn({ ...endpoint, OTEL_TRACES_EXPORTER: "none" })).toBe(false);
  expect(await isOn({ ...endpoint, OTEL_SDK_DISABLED: "true" })).toBe(false);
  expect(() => loadConfig({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" })).toThrow(
    'OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, http/json, not "grpc"',
  );
});

test("the OpenTelemetry SDK is loaded only if traces are on", async () => {
  const script = `
    import { loadConfig } from "./src/config/settings.ts";
    import { openTracing } from "./src/server/telemetry.ts";
    import "./src/server/server.ts";
    const sdk = () => Object.keys(require.cache).filter((path) => path.includes("@opentelemetry")).length > 0;
    const tracing = await openTracing(loadConfig(process.env), console);
    console.log(tracing !== undefined, sdk());
    await tracing?.close();`;
  const run = async (env: Record<string, string>) => {
    const child = Bun.spawn([process.execPath, "-e", script], { cwd: `${import.meta.dir}/../..`, env, stdout: "pipe" });
    return (await child.stdout.text()).trim();
  };
  expect(await run({})).toBe("false false");
  expect(await run({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })).toBe("true true");
});

test("the program sends its traces as protobuf unless told otherwise", async () => {
  const served = await serve(await testDatabase(), { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const traceparent = `00-${PARENT}-00f067aa0ba902b7-01`;
  await (await fetch(`${served.url}/api/tags`, { headers: { traceparent } })).text();
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
  const [request] = collector.requests;
  expect([request?.path, request?.headers.get("content-type")]).toEqual(["/v1/traces", "application/x-protobuf"]);
  const sent = Buffer.from(request?.body ?? []);
  for (const part of [Buffer.from(PARENT, "hex"), "GET /api/tags", "http.route", "postgresql", "service.name"]) {
    expect(sent.includes(part)).toBe(true);
  }
});

test("the program traces requests, their statements and mails; the log has the ids, and the last spans are sent", async () => {
  const served = await serve(await testDatabase(), {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_BSP_SCHEDULE_DELAY: "50",
  });
  const user = { username: "ada", email: "ada@example.com", password: "correct horse" };
  const headers = { "Content-Type": "application/json" };
  await fetch(`${served.url}/api/users`, { method: "POST", headers, body: JSON.stringify({ user }) });
  const isMail = ({ name }: SpanJson) => name === "send mail";
  while (!collector.spans().some(isMail)) await Bun.sleep(20);
  expect(collector.spans().find(isMail)?.parentSpanId).toBeUndefined();
  await (await fetch(`${served.url}/api/tags`)).text();
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
  const [statement, request] = collector.spans().slice(-2);
  expect([statement?.name, request?.name]).toEqual(["tags", "GET /api/tags"]);
  expect([statement?.traceId, statement?.parentSpanId]).toEqual([request?.traceId, request?.spanId]);
  expect(served.output()).toContain(`"trace_id":"${request?.traceId}","span_id":"${request?.spanId}"`);
});
