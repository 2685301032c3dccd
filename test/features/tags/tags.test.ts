import { afterAll, beforeAll, expect, test } from "bun:test";
import { statements } from "../../../src/db/statements.ts";
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

test("of more than 1,000 tags, the list has the 900 most used and the 100 most recently used, and a new tag at once", async () => {
  const other = await testServer();
  const dora = await other.register("dora");
  // t1 is used least and was used last; 1,200 in all.
  await other.sql`insert into tags (name, articles_count, last_used_at)
    select 't' || i, 10 + i, now() - i * interval '1 s' - interval '1 minute' from generate_series(1, 1200) i`;
  const names = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => `t${from - i}`);
  const listed = async (query = "") => (await other.request("GET", `/api/tags${query}`)).json.tags;
  expect(await listed()).toEqual([...names(1_200, 301), ...names(100, 1)]);
  await other.publish(dora, { tagList: ["new", "t200"] });
  // In the place of the two that were used longest ago.
  expect(await listed()).toEqual([...names(1_200, 301), "t200", ...names(98, 1), "new"]);
  expect(await listed("?limit=2")).toEqual(["t1200", "t1199"]);
  expect(await listed("?limit=901")).toEqual([...names(1_200, 301), "new"]);
  expect((await listed("?limit=5000")).length).toBe(1_000);
});

test("q returns the most used tags with a prefix, written as it is", async () => {
  const other = await testServer();
  const dora = await other.register("dora");
  const tagList = ["tea", "teapot", "Tea", "te%a", "te\u{1faf8}", "\u{1faf8}", "milk"];
  await other.publish(dora, { tagList });
  await other.publish(dora, { title: "Another", tagList: ["teapot"] });
  const found = async (q: string, rest = "") =>
    (await other.request("GET", `/api/tags?q=${encodeURIComponent(q)}${rest}`)).json.tags;
  expect(await found("te")).toEqual(["teapot", "te%a", "tea", "te\u{1faf8}"]);
  expect(await found("te", "&limit=2")).toEqual(["teapot", "te%a"]);
  expect(await found("Te")).toEqual(["Tea"]);
  expect(await found("te%")).toEqual(["te%a"]);
  expect(await found("te_")).toEqual([]);
  expect(await found("\u{1faf8}")).toEqual(["\u{1faf8}"]);
  expect((await found("")).length).toBe(7);
  const { status, json } = await other.request("GET", "/api/tags?limit=0");
  expect([status, json.errors]).toEqual([422, { limit: ["must be a whole number from 1"] }]);
});

test("the list of tags costs the same, however many there are", async () => {
  const other = await testServer();
  await other.sql`insert into tags (name, articles_count, last_used_at)
    select 't' || i, 1 + i % 1000, now() - i * interval '1 s' from generate_series(1, 50000) i`;
  await other.sql`vacuum analyze tags`;
  const { text } = statements.get("tags") as { text: string };
  const connection = await other.sql.reserve();
  await connection`set plan_cache_mode = force_generic_plan`;
  const rows = await connection.unsafe(`explain (analyze, format json) ${text}`, [1_000]);
  connection.release();
  const plan = JSON.stringify(rows[0]["QUERY PLAN"]);
  const read = [...plan.matchAll(/"Actual Rows":([0-9.]+)/g)].map(([, count]) => Number(count));
  expect(Math.max(...read)).toBeLessThanOrEqual(1_000);
});
