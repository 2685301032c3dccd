import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { JWT_SECRET, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { recordingLog } from "../support/recording.ts";
import { until } from "../support/until.ts";

const WHOLE = { title: "t", description: "d", body: "b" };
const AWAY = { database: ["is unavailable, try again later"] };

describe("while the database is unreachable", () => {
  let direct: TestServer;
  let server: TestServer;
  let anna: TestUser;
  let proxy: ReturnType<typeof startProxy>;
  beforeAll(async () => {
    direct = await testServer();
    anna = await direct.register("anna");
    proxy = startProxy(direct.address);
    server = await testServer({
      address: proxy.address,
      // It serves what it has read a moment ago also without the database.
      memory: { bytesMax: 0 },
      limits: { connectTimeoutMs: 300, queueTimeoutMs: 300, statementTimeoutMs: 300 },
    });
  });
  afterAll(() => proxy.stop());

  const requests: [string, string, unknown?][] = [
    ["GET", "/api/articles"],
    ["GET", "/api/tags"],
    ["GET", "/api/user"],
    ["GET", "/api/profiles/anna"],
    ["POST", "/api/articles", { article: WHOLE }],
    ["POST", "/api/profiles/anna/follow"],
    ["PUT", "/api/user", { user: { bio: "b" } }],
    ["POST", "/api/users/login", { user: { email: "anna@example.com", password: "correct horse" } }],
  ];
  const expectAway = async () => {
    for (const [method, path, body] of requests) {
      const { status, headers, json } = await server.request(method, path, { token: anna.token, body });
      expect([path, status, json.errors]).toEqual([path, 503, AWAY]);
      expect(headers.get("retry-after")).toBe("1");
      expect(headers.get("access-control-allow-origin")).toBe("*");
    }
    const health = await server.request("GET", "/health");
    expect([health.status, JSON.parse(health.text)]).toEqual([
      503,
      { status: "error", message: expect.any(String), database: "disconnected" },
    ]);
    expect(health.text).not.toMatch(/postgres|connect(?!ed"})|ECONN|socket|127\.0/i);
    // Routes that need no database still work.
    expect((await server.request("GET", "/api/user")).status).toBe(401);
    expect((await server.request("GET", "/api/nope")).status).toBe(404);
    expect((await server.request("POST", "/api/auth/logout", { body: {} })).status).toBe(422);
  };
  const expectBack = async () => {
    // One response may still be of a connection that was on its way to fail. Each pool, and /health, has its own.
    for (const [method, path] of [
      ["GET", "/health"],
      ["GET", "/api/tags"],
      ["POST", "/api/articles/none/favorite"],
    ] as const) {
      await until(async () => (await server.request(method, path, { token: anna.token })).status !== 503);
    }
    for (const [method, path, body] of requests.filter(([, path]) => !path.endsWith("follow"))) {
      const { status } = await server.request(method, path, { token: anna.token, body });
      expect([path, status < 300]).toEqual([path, true]);
    }
    expect(JSON.parse((await server.request("GET", "/health")).text)).toEqual({
      status: "ok",
      message: "Server is running",
      database: "connected",
    });
  };

  test("every route that needs it returns 503 with Retry-After, including /health, and recovers with the database", async () => {
    await expectBack();
    proxy.refuse();
    await expectAway();
    proxy.restore();
    await expectBack();
  });

  test("the same holds if the database hangs instead of closing connections", async () => {
    await expectBack();
    proxy.hang();
    const responses = await Promise.all(
      requests.map(([method, path, body]) => server.request(method, path, { token: anna.token, body })),
    );
    for (const { status, json } of responses) expect([status, json.errors]).toEqual([503, AWAY]);
    expect((await server.request("GET", "/health")).status).toBe(503);
    proxy.restore();
    await expectBack();
  });
});

describe("an unexpected error", () => {
  const { log, lines } = recordingLog();
  let server: TestServer;
  let anna: TestUser;
  let slug: string;
  beforeAll(async () => {
    server = await testServer({ log });
    anna = await server.register("anna");
    slug = (await server.publish(anna)).slug;
    await server.sql`alter table articles rename column favorites_count to lost_column`;
    await server.sql`alter table users rename column image to lost_picture`;
  });

  const requests: [string, string, unknown?][] = [
    ["GET", "/api/articles"],
    ["GET", "/api/articles/a-title"],
    ["POST", "/api/articles", { article: WHOLE }],
    ["POST", "/api/articles/a-title/favorite"],
    ["GET", "/api/user"],
    ["PUT", "/api/user", { user: { bio: "b" } }],
  ];

  test("is one fixed sentence to the client, in the error format, and only the log has its cause", async () => {
    for (const [method, path, body] of requests) {
      lines.splice(0);
      const { status, text, headers } = await server.request(method, path, { token: anna.token, body });
      expect([path, status, text]).toEqual([path, 500, '{"errors":{"server":["had an unexpected error"]}}']);
      expect(headers.get("content-type")).toStartWith("application/json");
      expect(headers.get("access-control-allow-origin")).toBe("*");
      const errors = lines.filter(({ level }) => level === "error");
      expect(errors.length).toBe(1);
      expect(Bun.inspect(errors[0]?.fields)).toMatch(/lost_|favorites_count|image/);
      expect(lines.at(-1)).toMatchObject({
        level: "info",
        fields: { "http.response.status_code": 500, "http.request.method": method },
      });
    }
  });

  test("does not affect later requests", async () => {
    await server.sql`alter table articles rename column lost_column to favorites_count`;
    await server.sql`alter table users rename column lost_picture to image`;
    expect((await server.request("GET", `/api/articles/${slug}`)).status).toBe(200);
    expect((await server.request("GET", "/api/user", { token: anna.token })).status).toBe(200);
  });
});

test("a statement that takes too long is 503, and changes nothing", async () => {
  const server = await testServer({ limits: { statementTimeoutMs: 300 } });
  const anna = await server.register("anna");
  const { slug } = await server.publish(anna);
  const other = await server.sql.reserve();
  try {
    await other`begin`;
    await other`select from articles for update`;
    const { status, json, headers } = await server.request("PUT", `/api/articles/${slug}`, {
      token: anna.token,
      body: { article: { body: "late" } },
    });
    expect([status, json.errors, headers.get("retry-after")]).toEqual([503, AWAY, "1"]);
    // Reads do not wait.
    expect((await server.request("GET", `/api/articles/${slug}`)).json.article.body).toBe("A body");
  } finally {
    await other`rollback`;
    other.release();
  }
  expect((await server.request("GET", `/api/articles/${slug}`)).json.article.body).toBe("A body");
});

test("one line is logged for each request, with its route, status and time", async () => {
  const { log, lines } = recordingLog();
  const server = await testServer({ log, jwtSecret: JWT_SECRET });
  const loggedRoute = async (method: string, path: string) => {
    lines.splice(0);
    const { status } = await server.request(method, path);
    expect(lines.length).toBe(1);
    const { "http.server.request.duration_ms": durationMs, ...rest } = lines[0]?.fields ?? {};
    expect(durationMs).toBeNumber();
    expect(rest).toMatchObject({ "http.request.method": method, "http.response.status_code": status });
    return rest["http.route"];
  };
  expect(await loggedRoute("GET", "/api/articles?tag=x")).toBe("/api/articles");
  expect(await loggedRoute("GET", "/api/articles/some-slug")).toBe("/api/articles/:slug");
  expect(await loggedRoute("DELETE", "/api/articles/some-slug/comments/1")).toBe("/api/articles/:slug/comments/:id");
  expect(await loggedRoute("POST", "/api/users")).toBe("/api/users");
  await loggedRoute("GET", "/nope");
  await loggedRoute("PATCH", "/api/user");
});
