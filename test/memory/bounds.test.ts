import { expect, test } from "bun:test";
import { join } from "node:path";
import { createMemory } from "../../src/memory/memory.ts";
import { testServer } from "../support/harness.ts";

const MIB = 1024 * 1024;

test("values take as much memory as they may, and the one used longest ago goes first", async () => {
  const memory = createMemory({ bytesMax: MIB, report: async () => {} });
  memory.setServing(true);
  const shelf = memory.shelf<number>("test");
  const load = (i: number) => shelf.load(String(i), async () => ({ value: i, topics: [], bytes: 10_000 }));
  for (let i = 0; i < 60; i++) await load(i);
  expect(memory.state().values).toBe(60);
  for (let i = 60; i < 1_000; i++) {
    await load(i);
    expect(shelf.find("0")).toBe(0);
  }
  expect(memory.state().bytes).toBeGreaterThan(0.9 * MIB);
  expect(memory.state().bytes).toBeLessThanOrEqual(MIB);
  expect([shelf.find("1"), shelf.find("999")]).toEqual([undefined, 999]);
});

test("an article of 1 MiB is not kept, and leaves the others", async () => {
  const server = await testServer({ memory: { bytesMax: 4 * MIB, ageMaxMs: 3_600_000 } });
  const author = await server.register("author");
  const small = await server.publish(author, { title: "Small" });
  const large = await server.publish(author, { title: "Large", body: "x".repeat(MIB) });
  const read = async (slug: string) => (await server.request("GET", `/api/articles/${slug}`)).json.article.body.length;
  expect([await read(small.slug), await read(large.slug)]).toEqual([6, MIB]);
  const before = server.memory.state();
  expect([await read(small.slug), await read(large.slug)]).toEqual([6, MIB]);
  expect(server.memory.state()).toMatchObject({ hits: before.hits + 1, misses: before.misses + 1, values: 1 });
});

test("a process grows by little more than the estimate of its values", async () => {
  const bytesMax = 32 * MIB;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/full-memory.ts")], {
    env: { MEMORY_MAX: String(bytesMax) },
    stderr: "inherit",
  });
  const growth = Number(await child.stdout.text());
  expect(growth).toBeGreaterThan(bytesMax / 2);
  // Without the bound, it would be ten times as much.
  expect(growth).toBeLessThan(3 * bytesMax);
});
