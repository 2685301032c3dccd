import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { rawConnection } from "../support/raw.ts";
import { serve, stopServed } from "../support/serve.ts";

afterAll(stopServed);

const get = (path: string, ...headers: string[]) =>
  `${[`GET ${path} HTTP/1.1`, "Host: localhost", ...headers].join("\r\n")}\r\n\r\n`;

/** What the server responds to one request, until it has a whole body. */
async function responseTo(url: string, request: string): Promise<string> {
  const connection = rawConnection(url, request);
  await connection.until("}");
  connection.close();
  return connection.received();
}

describe("an idle connection", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await testServer();
  });

  test("stays open for KEEP_ALIVE_TIMEOUT, which responses announce", async () => {
    const announced = await fetch(`${server.url}/api/tags`);
    expect(announced.headers.get("Keep-Alive")).toBe("timeout=75");
    const missing = await fetch(`${server.url}/api/nope`);
    expect(missing.headers.get("Keep-Alive")).toBe("timeout=75");
  });

  test("closes after the response to Connection: close, which says so", async () => {
    for (const value of ["close", "Close", "TE, close"]) {
      const connection = rawConnection(server.url, get("/api/tags", `Connection: ${value}`));
      await connection.closed;
      expect(connection.received()).toStartWith("HTTP/1.1 200 OK\r\n");
      expect(connection.received()).toMatch(/\r\nConnection: close\r\n/i);
      expect(connection.received()).not.toContain("Keep-Alive");
    }
    expect(await responseTo(server.url, get("/api/tags", "Connection: keep-alive"))).toContain("Keep-Alive: timeout=");
  });
});

test("REQUEST_TIMEOUT and KEEP_ALIVE_TIMEOUT bound what they name, and do not cut a response that takes longer", async () => {
  const address = await testDatabase();
  const settings = { REQUEST_TIMEOUT: "1s", KEEP_ALIVE_TIMEOUT: "1s", DATABASE_STATEMENT_TIMEOUT: "30s" };
  const { url } = await serve(address, { ...settings, DATABASE_QUEUE_TIMEOUT: "30s", DATABASE_POOL_MAX: "5" });
  const user = { username: "anna", email: "anna@example.com", password: "correct horse" };
  const registered = await fetch(`${url}/api/users`, { method: "POST", body: JSON.stringify({ user }) });
  const { token } = ((await registered.json()) as { user: { token: string } }).user;
  const lock = await connect(address, 1).reserve();
  await lock`begin`;
  await lock`lock table tags, users in access exclusive mode`;
  const slowRead = rawConnection(url, get("/api/tags"));
  const body = JSON.stringify({ user: { username: "slow", email: "slow@example.com", password: "correct horse" } });
  const post = `POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`;
  const slowWrite = rawConnection(url, post + body);
  // A route that needs no body, as clients send it without one, and with one that nobody reads.
  const follow = `POST /api/profiles/anna/follow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token ${token}\r\n`;
  const without = rawConnection(url, `${follow}Content-Length: 0\r\n\r\n`);
  const unread = rawConnection(url, `${follow}Content-Length: 2\r\n\r\n{}`);
  const stalled = rawConnection(url, post + body.slice(1));
  const idle = rawConnection(url, get("/health/live"));
  await idle.until("}");
  // Each of them within 1 s and two steps of Bun's timer, in which the slow ones would be cut as well.
  const [stalledMs, idleMs] = await Promise.all([stalled.closed, idle.closed]);
  expect(stalledMs).toBeWithin(1_000, 9_000);
  expect(idleMs).toBeWithin(1_000, 9_000);
  expect(stalled.received()).toBe("");
  expect(idle.received()).toContain("Keep-Alive: timeout=1\r\n");
  await lock`commit`;
  lock.release();
  await Promise.all([slowRead.until('{"tags":[]'), slowWrite.until('"slow"'), without.until("}"), unread.until("}")]);
  expect(slowRead.received()).toStartWith("HTTP/1.1 200 ");
  expect(slowWrite.received()).toStartWith("HTTP/1.1 201 ");
  for (const { received } of [without, unread]) expect(received()).toContain("can't follow yourself");
}, 60_000);

describe("the Host header", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await testServer();
  });
  const withHosts = (...hosts: string[]) =>
    `${["GET /api/tags HTTP/1.1", ...hosts.map((host) => `Host: ${host}`)].join("\r\n")}\r\n\r\n`;

  test.each([
    [["a.example", "b.example"]],
    [["a.example", "a.example"]],
    [["a.example, b.example"]],
    [["a/b"]],
    [["u@a"]],
  ])("is refused if it is repeated or malformed: %p", async (hosts) => {
    const response = await responseTo(server.url, withHosts(...hosts));
    expect(response).toStartWith("HTTP/1.1 400 ");
    expect(response).toEndWith('{"errors":{"host":["is invalid or repeated"]}}');
  });

  test.each(["a.example", "a.example:3000", "127.0.0.1:80", "[::1]:3000", "my_host", ""])(
    "is accepted as %p",
    async (host) => {
      expect(await responseTo(server.url, withHosts(host))).toStartWith("HTTP/1.1 200 ");
    },
  );
});

describe("HEAD", () => {
  let server: TestServer;
  let token: string;
  beforeAll(async () => {
    server = await testServer();
    token = (await server.register("anna")).token;
  });

  test.each([
    "/api/tags",
    "/api/articles",
    "/api/user",
    "/api/nope",
    "/",
    "/docs",
    "/openapi.json",
    "/robots.txt",
    "/health",
  ])("has the headers of GET, Content-Length included: %s", async (path) => {
    const headers = { Authorization: `Token ${token}` };
    const got = await fetch(server.url + path, { headers });
    const size = (await got.arrayBuffer()).byteLength;
    const { received, until, close } = rawConnection(
      server.url,
      `HEAD ${path} HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\nAuthorization: Token ${token}\r\n\r\n`,
    );
    await until("\r\n\r\n");
    close();
    expect(received()).toStartWith(`HTTP/1.1 ${got.status} `);
    expect(received().toLowerCase()).toContain(`content-length: ${size}\r\n`);
    expect(received()).toEndWith("\r\n\r\n");
    for (const name of ["content-type", "etag", "cache-control", "vary", "access-control-allow-origin"]) {
      const value = got.headers.get(name);
      if (value !== null) expect(received().toLowerCase()).toContain(`${name}: ${value.toLowerCase()}\r\n`);
    }
  });
});
