import { afterAll, beforeAll, expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});
afterAll(() => server.stop());

const tags = async () => (await server.request("GET", "/api/tags")).json.tags;

test("GET /api/tags is an empty list without articles", async () => {
  const { status, text } = await server.request("GET", "/api/tags");
  expect([status, text]).toEqual([200, '{"tags":[]}']);
});

test("tags are listed most used first, then by name, and change with every publication, edit and deletion at once", async () => {
  const first = await server.publish(anna, { tagList: ["b", "a", "é", "Z", "🐉", "\uffee"] });
  // Names are compared by code point.
  expect(await tags()).toEqual(["Z", "a", "b", "é", "\uffee", "🐉"]);
  const second = await server.publish(anna, { tagList: ["🐉", "b", "c"] });
  expect(await tags()).toEqual(["b", "🐉", "Z", "a", "c", "é", "\uffee"]);

  const edit = (tagList: string[]) =>
    server.request("PUT", `/api/articles/${second.slug}`, { token: anna.token, body: { article: { tagList } } });
  await edit(["c", "d"]);
  expect(await tags()).toEqual(["Z", "a", "b", "c", "d", "é", "\uffee", "🐉"]);
  // A new order of the same tags changes nothing.
  await edit(["d", "c"]);
  expect(await tags()).toEqual(["Z", "a", "b", "c", "d", "é", "\uffee", "🐉"]);
  await edit(["a"]);
  expect(await tags()).toEqual(["a", "Z", "b", "é", "\uffee", "🐉"]);

  await server.request("DELETE", `/api/articles/${first.slug}`, { token: anna.token });
  expect(await tags()).toEqual(["a"]);
  await server.request("DELETE", `/api/articles/${second.slug}`, { token: anna.token });
  expect(await tags()).toEqual([]);
});
