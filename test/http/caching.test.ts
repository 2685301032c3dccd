import { beforeAll, describe, expect, test } from "bun:test";
import { servedRoutes } from "../../src/http/openapi.ts";
import { type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";

type Sent = { path: string; token: string | undefined; status: number; headers: Headers; text: string };

describe("caching, of every route", () => {
  let sent: Sent[];
  const guardOf = new Map<string, string>();
  let anna: TestUser;

  beforeAll(async () => {
    const server: TestServer = await testServer();
    const document = JSON.parse((await server.request("GET", "/openapi.json")).text);
    anna = await server.register("anna");
    await server.register("someone");
    await server.publish(anna, { title: "Some slug" });
    const values: Record<string, string> = { slug: "some-slug", username: "someone", id: "1" };
    sent = [];
    for (const route of servedRoutes(testApp(server.db, { web: false }).routes)) {
      const [method = "", pattern = ""] = route.split(" ");
      const path = pattern.replace(/:(\w+)/g, (_, name) => values[name] ?? name);
      const operation = document.paths[pattern.replace(/:(\w+)/g, "{$1}")][method.toLowerCase()];
      const security = JSON.stringify(operation.security);
      guardOf.set(
        `${method} ${path}`,
        security === "[]" ? "none" : security === '[{"Token":[]}]' ? "required" : "optional",
      );
      for (const token of [undefined, anna.token]) {
        const { status, headers, text } = await server.request(method, path, { token, body: BODIES[route] });
        sent.push({ path: `${method} ${path}`, token, status, headers, text });
      }
    }
    await server.stop();
  }, 60_000);

  /** So that the responses of routes with a body are successes where one request is enough. */
  const BODIES: Record<string, unknown> = {
    "POST /api/users": { user: { username: "new", email: "new@example.com", password: "correct horse" } },
    "POST /api/users/login": { user: { email: "anna@example.com", password: "correct horse" } },
    "PUT /api/user": { user: { bio: "Hello" } },
    "POST /api/articles": { article: { title: "Another", description: "d", body: "b" } },
    "POST /api/articles/:slug/comments": { comment: { body: "Nice" } },
    "POST /api/auth/forgot-password": { email: "anna@example.com" },
  };

  test("is forbidden, or allowed with validation only", () => {
    expect(sent.length).toBeGreaterThan(60);
    for (const { path, status, headers } of sent) {
      expect([path, status, headers.get("Cache-Control")]).toEqual([
        path,
        status,
        expect.stringMatching(/^(no-store|no-cache|private, no-cache)$/),
      ]);
    }
  });

  test("is forbidden for errors, writes, and everything with a token or an email address", () => {
    const isPrivate = ({ path, status, text }: Sent) =>
      !path.startsWith("GET ") || status >= 400 || /"(token|access_token|refresh_token|email|sessions)"/.test(text);
    // The document is full of these words, and public.
    const found = sent.filter((one) => isPrivate(one) && !(one.path === "GET /openapi.json"));
    expect(new Set(found.map(({ path }) => path))).toContain("GET /api/user");
    expect(new Set(found.map(({ path }) => path))).toContain("GET /api/auth/sessions");
    for (const { path, status, headers } of found) {
      expect([path, status, headers.get("Cache-Control")]).toEqual([path, status, "no-store"]);
    }
  });

  test("is private and varies by Authorization wherever a token is read", () => {
    const guards = new Set<string>();
    for (const { path, headers } of sent) {
      const guard = guardOf.get(path) ?? "";
      guards.add(guard);
      const varies = (headers.get("Vary") ?? "").includes("Authorization");
      expect([path, varies]).toEqual([path, guard !== "none"]);
      if (guard !== "none") expect([path, headers.get("Cache-Control")]).not.toEqual([path, "no-cache"]);
    }
    expect([...guards].sort()).toEqual(["none", "optional", "required"]);
  });

  test("is allowed for what everybody sees the same", () => {
    for (const path of ["GET /api/tags", "GET /openapi.json"]) {
      const { headers } = sent.find((one) => one.path === path) as Sent;
      expect([path, headers.get("Cache-Control"), headers.get("Vary")]).toEqual([path, "no-cache", null]);
      expect(headers.get("ETag")).toStartWith("W/");
    }
  });
});

test("a list of allowed origins does not hide that a response varies by Authorization", async () => {
  const server = await testServer({ corsOrigins: ["https://app.example"] });
  const { headers } = await server.request("GET", "/api/articles", { headers: { Origin: "https://app.example" } });
  expect(headers.get("Vary")?.split(/, */).sort()).toEqual(["Authorization", "Origin"]);
  await server.stop();
});
