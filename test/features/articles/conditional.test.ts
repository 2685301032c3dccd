import { afterAll, beforeAll, expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let slug: string;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  slug = (await server.publish(anna, { tagList: ["one"] })).slug;
});
afterAll(() => server.stop());

const paths = (): string[] => [
  "/api/articles",
  "/api/articles?tag=one&limit=1",
  "/api/articles/feed",
  `/api/articles/${slug}`,
  `/api/articles/${slug}/comments`,
  "/api/profiles/anna",
  "/api/tags",
];

async function conditional(path: string, etag: string) {
  return server.request("GET", path, { token: anna.token, headers: { "If-None-Match": etag } });
}

test("an unchanged read is 304 without a body, with the same ETag", async () => {
  for (const path of paths()) {
    const first = await server.request("GET", path, { token: anna.token });
    const cacheControl = path === "/api/tags" ? "no-cache" : "private, no-cache";
    expect([path, first.status, first.headers.get("cache-control")]).toEqual([path, 200, cacheControl]);
    const etag = first.headers.get("etag") ?? "";
    // That of an article is strong, and begins with its version.
    expect(etag).toMatch(path === `/api/articles/${slug}` ? /^"1-[0-9a-z]+"$/ : /^W\/"[0-9a-z]+"$/);
    // The comparison is weak, and proxies remove or add "W/".
    const strong = etag.replace("W/", "");
    for (const sent of [strong, `W/${strong}`, `"other", ${etag}`, `W/"a,b",${strong} , "c"`, " * "]) {
      const again = await conditional(path, sent);
      expect([path, again.status, again.text]).toEqual([path, 304, ""]);
      expect(again.headers.get("etag")).toBe(etag);
      expect(again.headers.get("access-control-allow-origin")).toBe("*");
    }
    for (const other of ['"other"', "other", strong.slice(1, -1), `"x${strong.slice(1)}`, '"*"', ""]) {
      expect([other, (await conditional(path, other)).status]).toEqual([other, 200]);
    }
  }
});

test("the very next read shows what a write changed, whatever the client has cached", async () => {
  const etags = new Map<string, string>();
  const path = `/api/articles/${slug}`;
  const read = async () => {
    const response = await conditional(path, etags.get(path) ?? '""');
    etags.set(path, response.headers.get("etag") ?? "");
    return response;
  };
  await read();
  await server.request("POST", `${path}/favorite`, { token: anna.token });
  expect((await read()).json.article.favoritesCount).toBe(1);
  expect((await read()).status).toBe(304);
  await server.request("PUT", path, { token: anna.token, body: { article: { body: "Another body" } } });
  expect((await read()).json.article.body).toBe("Another body");
});

test("the ETag of one reader is not valid for another", async () => {
  const path = `/api/articles/${slug}`;
  await server.request("POST", `${path}/favorite`, { token: anna.token });
  const ben = await server.register("ben");
  const etag = (await server.request("GET", path, { token: ben.token })).headers.get("etag") ?? "";
  const response = await conditional(path, etag);
  expect(response.status).toBe(200);
  expect(response.json.article.favorited).toBe(true);
});

test("errors and writes have no ETag", async () => {
  const missing = await server.request("GET", "/api/articles/none", { headers: { "If-None-Match": "*" } });
  expect([missing.status, missing.headers.get("etag")]).toEqual([404, null]);
  const followed = await server.request("PUT", "/api/user", { token: anna.token, body: { user: { bio: "b" } } });
  expect([followed.status, followed.headers.get("etag")]).toEqual([200, null]);
});
