import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { SQL } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { connectionOptions } from "../../src/db/pool.ts";
import { ARTICLE_REQUEST_SIZE_MAX } from "../../src/features/articles/schema.ts";
import { type TestResponse, type TestUser, testDatabase, testServer } from "../support/harness.ts";
import { addUsers } from "../support/people.ts";
import { rawConnection } from "../support/raw.ts";
import { type Served, serve, stopServed } from "../support/serve.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

describe("limits of requests", () => {
  let address: DatabaseAddress;
  let served: Served;
  let brief: Served;
  beforeAll(async () => {
    address = await testDatabase();
    [served, brief] = await Promise.all([
      serve(address, { REQUESTS_MAX: "5" }),
      serve(address, { REQUEST_TIMEOUT: "1s", CORS_ORIGINS: "https://page.example" }),
    ]);
  });
  afterAll(stopServed);

  const head = (line: string, fields = "") => `${line} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;

  test("a URL of 8 KiB is accepted, a longer one is 414", async () => {
    const path = "/api/articles?x=";
    const ofSize = (size: number) => path + "x".repeat(size - served.url.length - path.length);
    const [fits, long] = await Promise.all([8 * 1024, 8 * 1024 + 1].map((size) => fetch(served.url + ofSize(size))));
    expect(fits?.status).toBe(200);
    expect(long?.status).toBe(414);
    expect<unknown>(await long?.json()).toEqual({ errors: { path: ["is too long (maximum is 8192 bytes)"] } });
  });

  test("responses to rejected requests can be read by the same origins as any response", async () => {
    const long = `/api/articles?x=${"x".repeat(8 * 1024)}`;
    const any = await fetch(served.url + long, { headers: { Origin: "https://page.example" } });
    expect([any.status, any.headers.get("access-control-allow-origin")]).toEqual([414, "*"]);
    expect(any.headers.get("x-content-type-options")).toBe("nosniff");
    const listed = await fetch(brief.url + long, { headers: { Origin: "https://page.example" } });
    expect([listed.status, listed.headers.get("access-control-allow-origin")]).toEqual([414, "https://page.example"]);
    expect(listed.headers.get("vary")).toBe("Origin");
    const foreign = await fetch(brief.url + long, { headers: { Origin: "https://evil.example" } });
    expect([foreign.status, foreign.headers.get("access-control-allow-origin")]).toEqual([414, null]);
  });

  test("a head of more than 16 KiB, or of more than 200 fields, is 431", async () => {
    const big = await raw(served, [head("GET /health/live", `X-Big: ${"x".repeat(17_000)}\r\n`)]);
    expect(big.response).toStartWith("HTTP/1.1 431 ");
    const many = Array.from({ length: 201 }, (_, i) => `X-${i}: x\r\n`).join("");
    expect((await raw(served, [head("GET /health/live", many)])).response).toStartWith("HTTP/1.1 431 ");
  });

  test("a body of any length is refused in the error format", async () => {
    for (const length of [16 * 1024 + 1, 100_000_000, Number.MAX_SAFE_INTEGER]) {
      const upload = rawConnection(served.url, head("POST /api/users", `Content-Length: ${length}\r\n`));
      await upload.until("}}");
      expect(upload.received()).toStartWith("HTTP/1.1 413 ");
      expect(upload.received()).toEndWith('{"errors":{"body":["is too large (maximum is 16384 bytes)"]}}');
      upload.close();
    }
  });

  test("requests above REQUESTS_MAX are 503 at once, with Retry-After, and the others succeed", async () => {
    const sql = new SQL(connectionOptions(address, 1, {}));
    const hold = await sql.reserve();
    try {
      await hold`begin`;
      await hold`lock table tags in access exclusive mode`;
      const held = Array.from({ length: 5 }, () => fetch(`${served.url}/api/tags`));
      // They have arrived as soon as a further one is rejected.
      const refused = await until(async () => {
        const response = await fetch(`${served.url}/health/live`);
        return response.status === 503 && response;
      });
      expect(refused.headers.get("retry-after")).toBe("1");
      expect<unknown>(await refused.json()).toEqual({ errors: { server: ["is busy, try again later"] } });
      await hold`rollback`;
      for (const response of held) expect((await response).status).toBe(200);
    } finally {
      hold.release();
      await sql.close({ timeout: 0 });
    }
  });

  test("a request without a Host header, as HTTP/1.0 allows, is routed", async () => {
    const { response } = await raw(served, ["GET /health/live?x=1 HTTP/1.0\r\n\r\n"]);
    expect(response).toStartWith("HTTP/1.1 200 ");
    const empty = await raw(served, ["GET /api/tags/ HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n"]);
    expect(empty.response).toStartWith("HTTP/1.1 200 ");
    const unknown = await raw(served, ["GET /nope HTTP/1.0\r\n\r\n"]);
    expect(unknown.response).toStartWith("HTTP/1.1 404 ");
  });

  test("a client that disconnects in the middle of a body is not an error of the server", async () => {
    const id = "hangs-up";
    const fields = `X-Request-Id: ${id}\r\nTransfer-Encoding: chunked\r\n`;
    await raw(served, [head("POST /api/users", fields), "zz\r\n"], 100);
    const lines = () =>
      served
        .output()
        .split("\n")
        .filter((line) => line.includes(id));
    await until(() => lines().length > 0);
    expect(lines()).toHaveLength(1);
    expect(JSON.parse(lines()[0] ?? "")).toMatchObject({ level: "info", "http.response.status_code": 400 });
  });

  test("a body that arrives byte by byte is cut off, and delays no other client", async () => {
    const slow = Array.from({ length: 30 }, () =>
      raw(brief, [head("POST /api/users", "Content-Length: 100\r\n"), ..."x".repeat(99)], 1_000),
    );
    let isOver = false;
    const over = Promise.all(slow).then((results) => {
      isOver = true;
      return results;
    });
    let completed = 0;
    while (!isOver) {
      const response = await fetch(`${brief.url}/api/articles`, { signal: AbortSignal.timeout(5_000) });
      expect(response.status).toBe(200);
      completed++;
      await Bun.sleep(50);
    }
    // It was cut off long before the last of the hundred bytes.
    for (const { sent } of await over) expect(sent).toBeLessThan(20);
    expect(completed).toBeGreaterThan(10);
  });
});

test("large bodies in flight have a bound for each user and for all together, and leave small ones alone", async () => {
  const server = await testServer();
  const anna = await server.register("anna");
  const users = await addUsers(server, anna, ["bert", "cleo", "dora", "emil", "fred", "gina", "hans", "ida"]);
  const [bert, , , , , , , ida] = users as [
    TestUser,
    TestUser,
    TestUser,
    TestUser,
    TestUser,
    TestUser,
    TestUser,
    TestUser,
  ];
  const small = JSON.stringify({ article: { title: "t", description: "d", body: "b" } });
  const large = small.replace("{", `{"fill":"${"x".repeat(2 * 1024 * 1024)}",`);
  const publish = async ({ token }: TestUser, body: string) => {
    const headers = { Authorization: `Token ${token}` };
    const response = await fetch(`${server.url}/api/articles`, { method: "POST", headers, body });
    const { errors } = (await response.json()) as TestResponse["json"];
    return { status: response.status, retryAfter: response.headers.get("Retry-After"), errors };
  };
  const refused = { status: 503, retryAfter: "1", errors: { server: ["is unavailable, try again later"] } };
  const stalled: ReturnType<typeof rawConnection>[] = [];
  /** Uploads of 3 MiB that stop after the head, which the server has seen when it sends 100 or 503. */
  const stall = async ({ token }: TestUser, count: number) => {
    const head = `POST /api/articles HTTP/1.1\r\nHost: x\r\nAuthorization: Token ${token}\r\n`;
    const length = `Content-Length: ${ARTICLE_REQUEST_SIZE_MAX}\r\nExpect: 100-continue\r\n\r\n`;
    const uploads = Array.from({ length: count }, () => rawConnection(server.url, head + length));
    stalled.push(...uploads);
    await Promise.all(uploads.map(({ until }) => until("\r\n\r\n")));
  };

  await stall(anna, 10);
  expect(await publish(anna, large)).toEqual(refused);
  expect((await publish(anna, small)).status).toBe(201);
  expect((await publish(bert, large)).status).toBe(201);

  for (const user of users) await stall(user, 10);
  expect(stalled.filter(({ received }) => received().includes(" 503 "))).not.toEqual([]);
  // Ida's share is not used up, but that of all is.
  expect(await publish(ida, large)).toEqual(refused);
  expect((await publish(ida, small)).status).toBe(201);

  for (const { close } of stalled) close();
  while ((await publish(anna, large)).status === 503) await Bun.sleep(10);
  await server.stop();
});

/** Sends the parts unchanged, with a pause between them, and returns what the server sends until it closes. */
async function raw({ url }: Served, parts: string[], pauseMs = 0): Promise<{ response: string; sent: number }> {
  let response = "";
  let isClosed = false;
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(url).port),
    socket: {
      data(_socket, bytes) {
        response += bytes.toString();
      },
      close() {
        isClosed = true;
        resolve();
      },
      error() {},
    },
  });
  let sent = 0;
  for (const part of parts) {
    if (isClosed) break;
    socket.write(part);
    sent++;
    if (pauseMs > 0) await Promise.race([Bun.sleep(pauseMs), closed]);
  }
  await closed;
  return { response, sent };
}
