import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { openDatabase } from "../../src/db/pool.ts";
import { createTracing, type Tracing } from "../../src/observability/tracing.ts";
import { type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

setDefaultTimeout(30_000);

type Value = { stringValue?: string; intValue?: string };
type SpanJson = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Value }[];
  status: { code?: number };
};
type Received = {
  resourceSpans: { resource: { attributes: { key: string; value: Value }[] }; scopeSpans: { spans: SpanJson[] }[] }[];
};

/** A receiver of OTLP over HTTP. */
function startReceiver() {
  const bodies: Received[] = [];
  const requests: { path: string; headers: Headers }[] = [];
  const http = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      requests.push({ path: new URL(request.url).pathname, headers: request.headers });
      bodies.push((await request.json()) as Received);
      return Response.json({});
    },
  });
  const spans = () =>
    bodies.flatMap(({ resourceSpans }) => resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans)));
  return { url: http.url.origin, bodies, requests, spans, stop: () => http.stop(true) };
}

const attributesOf = ({ attributes }: { attributes: { key: string; value: Value }[] }) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]));

const warnings: string[] = [];
const log = {
  debug: () => {},
  info: () => {},
  warn: (_: object, message: string) => void warnings.push(message),
  error: () => {},
};
const PARENT = "4bf92f3577b34da6a3ce929d0e0e4736";

async function tracedServer(
  endpoint: string,
  ratio = 1,
): Promise<{ tracing: Tracing; server: TestServer; stop(): Promise<void> }> {
  const address = await testDatabase();
  const tracing = createTracing({
    endpoint,
    headers: { "x-key": "secret" },
    serviceName: "conduit-test",
    serviceVersion: "1.2.3",
    ratio,
    log,
  });
  const limits = { connectTimeoutMs: 500, queueTimeoutMs: 500, statementTimeoutMs: 500, poolMax: 1 };
  const pool = openDatabase(address, limits);
  const server = await testServer({ address, db: tracing.database(pool, address), trace: tracing.middleware });
  return {
    tracing,
    server,
    async stop() {
      await server.stop();
      await pool.close(1_000);
    },
  };
}

let receiver: ReturnType<typeof startReceiver>;
beforeAll(() => {
  receiver = startReceiver();
});
afterAll(async () => {
  await receiver.stop();
  await stopServed();
});

test("a request has a span in its caller's trace, and its statement one within, by the semantic conventions", async () => {
  const { tracing, server, stop } = await tracedServer(receiver.url);
  const ada = await server.register("ada");
  await server.publish(ada);
  await server.request("GET", "/api/articles/a-title?token=secret", {
    headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-01`, "X-Request-Id": "r-1" },
  });
  await tracing.inSpan("outside", "internal", {}, async (span) => expect(span).toBeUndefined());
  await server.request("GET", "/nothing");
  await server.sql`alter table tags rename column name to other`;
  await server.request("GET", "/api/tags");
  await tracing.close();
  await stop();

  const [first] = receiver.requests;
  expect([first?.path, first?.headers.get("content-type"), first?.headers.get("x-key")]).toEqual([
    "/v1/traces",
    "application/json",
    "secret",
  ]);
  const resource = receiver.bodies[0]?.resourceSpans[0]?.resource ?? { attributes: [] };
  expect(attributesOf(resource)).toEqual({ "service.name": "conduit-test", "service.version": "1.2.3" });

  const [statement, request, ...others] = receiver.spans().filter(({ traceId }) => traceId === PARENT);
  if (request === undefined || statement === undefined) throw new Error("spans are missing");
  expect(others).toEqual([]);
  expect(request).toMatchObject({
    name: "GET /api/articles/:slug",
    kind: 2,
    parentSpanId: "00f067aa0ba902b7",
    status: {},
  });
  expect(attributesOf(request)).toEqual({
    "http.request.method": "GET",
    "http.route": "/api/articles/:slug",
    "http.response.status_code": 200,
    "url.scheme": "http",
    "url.path": "/api/articles/a-title",
    "server.address": "127.0.0.1",
    "conduit.request.id": "r-1",
  });
  expect(statement).toMatchObject({ name: "article_by_slug_for_nobody", kind: 3, parentSpanId: request.spanId });
  expect(attributesOf(statement)).toMatchObject({
    "db.system.name": "postgresql",
    "db.query.summary": "article_by_slug_for_nobody",
  });
  const [began, ended] = [BigInt(request.startTimeUnixNano), BigInt(request.endTimeUnixNano)];
  expect(Number(BigInt(Date.now()) - ended / 1_000_000n)).toBeLessThan(20_000);
  expect(BigInt(statement.startTimeUnixNano) >= began && BigInt(statement.endTimeUnixNano) <= ended).toBe(true);

  const failed = receiver.spans().filter(({ status }) => status.code === 2);
  expect(failed.map(({ name }) => name)).toEqual(["tags", "GET /api/tags"]);
  expect(attributesOf(failed[0] as SpanJson)["db.response.status_code"]).toBe("42703");
  expect(attributesOf(failed[1] as SpanJson)["error.type"]).toBe("500");
  // A path that is no route's does not name a span.
  expect(receiver.spans().filter(({ name }) => name === "GET").length).toBe(1);
  expect(JSON.stringify(receiver.bodies)).not.toContain("token=secret");
});

test("a trace is recorded as its caller decided, and by the ratio where there is no caller", async () => {
  const before = receiver.spans().length;
  const none = await tracedServer(receiver.url, 0);
  await none.server.request("GET", "/api/tags");
  await none.server.request("GET", "/api/tags", { headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-01` } });
  await none.tracing.close();
  await none.stop();
  expect(receiver.spans().length - before).toBe(2);
  const all = await tracedServer(receiver.url, 1);
  await all.server.request("GET", "/api/tags", { headers: { traceparent: `00-${PARENT}-00f067aa0ba902b7-00` } });
  await all.tracing.close();
  await all.stop();
  expect(receiver.spans().length - before).toBe(2);
});

test("a malformed traceparent begins a trace of its own", async () => {
  const { tracing, server, stop } = await tracedServer(receiver.url);
  const before = receiver.spans().length;
  for (const traceparent of ["x", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`, `ff-${PARENT}-00f067aa0ba902b7-01`]) {
    await server.request("GET", "/health/live", { headers: { traceparent } });
  }
  await tracing.close();
  await stop();
  const made = receiver.spans().slice(before);
  expect(made.length).toBe(3);
  for (const { traceId, parentSpanId } of made) {
    expect(traceId).toMatch(/^[0-9a-f]{32}$/);
    expect([traceId === PARENT, parentSpanId]).toEqual([false, undefined]);
  }
});

test("a receiver that is away costs the spans, and a warning, and no request", async () => {
  const { tracing, server, stop } = await tracedServer("http://127.0.0.1:9");
  expect((await server.request("GET", "/api/tags")).status).toBe(200);
  await tracing.close();
  await stop();
  expect(warnings).toEqual(["cannot send traces"]);
});

test("the program sends its traces where OTEL_EXPORTER_OTLP_ENDPOINT says, the last ones at its end", async () => {
  const before = receiver.spans().length;
  const served = await serve(await testDatabase(), { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  const user = { username: "ada", email: "ada@example.com", password: "correct horse" };
  const headers = { "Content-Type": "application/json" };
  await fetch(`${served.url}/api/users`, { method: "POST", headers, body: JSON.stringify({ user }) });
  const isMail = ({ name }: SpanJson) => name === "send mail";
  while (!receiver.spans().slice(before).some(isMail)) await Bun.sleep(50);
  const mail = receiver.spans().slice(before).find(isMail);
  expect([mail?.kind, mail?.parentSpanId]).toEqual([3, undefined]);
  await (await fetch(`${served.url}/api/tags`)).text();
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
  expect(
    receiver
      .spans()
      .slice(-2)
      .map(({ name }) => name),
  ).toEqual(["tags", "GET /api/tags"]);
  const traceId = receiver.spans().at(-1)?.traceId;
  expect(served.output()).toContain(`"trace.id":"${traceId}"`);
});
