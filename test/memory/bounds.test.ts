import { afterAll, expect, test } from "bun:test";
import { createMemory } from "../../src/memory/memory.ts";
import { testServer } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

const MIB = 1024 * 1024;
afterAll(stopServed);

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

test("a process takes not much more than MEMORY_MAX for what it holds", async () => {
  const { address, register, publish, sql } = await testServer();
  await publish(await register("author"), { description: "d".repeat(900) });
  await sql`
    insert into articles (author_id, slug, title, description, body)
    select author_id, 'copy-' || n, title, description, body from articles, generate_series(1, 250) n`;
  const maxBytes = 16 * MIB;
  const served = await serve(address, { MEMORY_MAX: String(maxBytes) });
  const series = async (name: string) => {
    const text = await (await fetch(`${served.metricsUrl}`)).text();
    return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
  };
  const readPages = async (from: number, to: number) => {
    const read = async (i: number) => {
      await (await fetch(`${served.url}/api/articles?limit=${91 + (i % 10)}&offset=${Math.floor(i / 10)}`)).text();
    };
    for (let i = from; i < to; i += 8) await Promise.all(Array.from({ length: 8 }, (_, j) => read(i + j)));
  };
  // Each takes some 250 KB. The first ones fill the memory, and more than that passes through it.
  await readPages(0, 400);
  const before = await series("process_resident_memory_bytes");
  await readPages(400, 1_600);
  const growth = (await series("process_resident_memory_bytes")) - before;
  expect(await series("memory_values_bytes")).toBeGreaterThan(0.9 * maxBytes);
  expect(await series("memory_values_bytes")).toBeLessThanOrEqual(maxBytes);
  expect(growth).toBeLessThan(100 * MIB);
});
