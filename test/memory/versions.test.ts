import { beforeAll, describe, expect, test } from "bun:test";
import type { SQL } from "bun";
import { revalidateArticles } from "../../src/features/articles/versions.ts";
import { createMemory } from "../../src/memory/memory.ts";
import { connect, type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let author: TestUser;
/** Changes rows as `psql` does: nobody is notified. */
let psql: SQL;

beforeAll(async () => {
  server = await testServer({ memory: { bytesMax: 64 * 1024 * 1024, ageMaxMs: 3_600_000 } });
  author = await server.register("author");
  psql = connect(server.address, 1);
});

describe("an article that was revalidated shows a change that nobody reported:", () => {
  test.each([
    ["of its text", (slug: string) => psql`update articles set description = 'after' where slug = ${slug}`],
    [
      "of its number of favourites",
      (slug: string) => psql`
        insert into favorites (user_id, article_id, article_published_at, author_id)
        select author_id, id, published_at, author_id from articles where slug = ${slug}`,
    ],
    ["of its author", () => psql`update users set bio = 'after'`],
    ["of its path", (slug: string) => psql`update articles set slug = 'moved-' || slug where slug = ${slug}`],
    ["its deletion", (slug: string) => psql`delete from articles where slug = ${slug}`],
  ])("%s", async (_, change) => {
    const { slug } = await server.publish(author);
    const other = await server.publish(author, { title: "Another" });
    const read = async (slug: string) => (await server.request("GET", `/api/articles/${slug}`)).text;
    const before = [await read(slug), await read(other.slug)];
    await change(slug);
    expect([await read(slug), await read(other.slug)]).toEqual(before);
    await revalidateArticles(server.db, server.memory);
    expect(await read(slug)).not.toBe(before[0] ?? "");
  });
});

test("an article that did not change stays in memory", async () => {
  const { slug } = await server.publish(author, { title: "Stays" });
  const read = () => server.request("GET", `/api/articles/${slug}`);
  await read();
  const { hits, misses } = server.memory.state();
  await revalidateArticles(server.db, server.memory);
  await read();
  expect(server.memory.state()).toMatchObject({ hits: hits + 1, misses });
});

test("a value that is revalidated does not become too old", async () => {
  const ageMaxMs = 200;
  const memory = createMemory({ bytesMax: 1024 * 1024, ageMaxMs, report: async () => {} });
  memory.setServing(true);
  const shelf = memory.shelf<string>("test");
  const load = (key: string) =>
    shelf.load(key, async () => ({ value: key, topics: [], bytes: 1, version: { id: key, version: "1" } }));

  /** Whether a value survived three times its age. A machine that stands still for that long lets it expire. */
  async function survives(revalidate: () => Promise<void>): Promise<boolean> {
    await load("key");
    for (const end = performance.now() + 3 * ageMaxMs; performance.now() < end; await Bun.sleep(10)) {
      await revalidate();
      if (shelf.find("key") === undefined) return false;
    }
    return true;
  }
  let attempts = 0;
  while (!(await survives(() => memory.revalidate(async () => [])))) if (++attempts > 20) throw new Error("it expires");
  expect(await survives(() => memory.revalidate(async () => ["key"]))).toBe(false);
  expect(await survives(async () => {})).toBe(false);
});

test("a change that is reported while values are being revalidated counts", async () => {
  const memory = createMemory({ bytesMax: 1024 * 1024, ageMaxMs: 3_600_000, report: async () => {} });
  memory.setServing(true);
  const shelf = memory.shelf<string>("test");
  for (const key of ["changed", "unchanged"]) {
    await shelf.load(key, async () => ({ value: key, topics: [key], bytes: 1, version: { id: key, version: "1" } }));
  }
  await memory.revalidate(async () => {
    memory.forget(["changed"]);
    return [];
  });
  expect([shelf.find("changed"), shelf.find("unchanged")]).toEqual([undefined, "unchanged"]);
});
