import { afterEach, expect, test } from "bun:test";
import { createMemory } from "../../src/memory/memory.ts";
import { type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const limits = { connectTimeoutMs: 500, queueTimeoutMs: 500, statementTimeoutMs: 1_000 };

/** A server whose database can be taken away, which does not read values ahead of time. */
async function behindProxy(memory: { ageMaxMs?: number; staleMaxMs: number }) {
  const proxy = startProxy(await testDatabase());
  stops.push(proxy.stop);
  const server = await testServer({ address: proxy.address, limits, memory: { bytesMax: 10_000_000, ...memory } });
  stops.push(server.stop);
  return { proxy, server };
}

async function takeAway(server: TestServer, proxy: ReturnType<typeof startProxy>): Promise<void> {
  proxy.refuse();
  await until(async () => {
    await server.request("GET", "/api/articles?tag=unread");
    return server.db.isAway();
  });
}

test("while the database is away, anonymous readers get what is in memory, with its age, and all else is a 503", async () => {
  const { proxy, server } = await behindProxy({ ageMaxMs: 1, staleMaxMs: 60_000 });
  const author = await server.register("author");
  const { slug } = await server.publish(author, { title: "In memory" });
  const paths = ["/api/articles", `/api/articles/${slug}`, `/api/articles/${slug}/comments`, "/api/tags"];
  const before = await Promise.all(paths.map((path) => server.request("GET", path)));
  const openPage = async () => {
    const response = await fetch(`${server.url}/article/${slug}`, { headers: { Accept: "text/html" } });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const page = await openPage();
  expect(before.map(({ headers }) => headers.get("age"))).toEqual(paths.map(() => null));

  await takeAway(server, proxy);
  const during = await Promise.all(paths.map((path) => server.request("GET", path)));
  expect(during.map(({ status, text }) => [status, text])).toEqual(before.map(({ text }) => [200, text]));
  const stalePage = await openPage();
  expect([stalePage.status, stalePage.text]).toEqual([200, page.text]);
  for (const { headers } of [...during, stalePage]) {
    expect(headers.get("age")).toMatch(/^\d+$/);
    expect(headers.get("cache-status")).toMatch(/^conduit; hit; ttl=-?\d+; detail="database unavailable"$/);
  }
  const known = await server.request("GET", "/api/articles", {
    headers: { "If-None-Match": before[0]?.headers.get("etag") ?? "" },
  });
  expect([known.status, known.headers.has("age")]).toEqual([304, true]);

  const { token } = author;
  const others = await Promise.all([
    server.request("GET", "/api/articles", { token }),
    server.request("GET", "/api/articles?limit=1"),
    server.request("POST", `/api/articles/${slug}/favorite`, { token }),
  ]);
  expect(others.map(({ status, headers }) => [status, headers.get("retry-after")])).toEqual(
    others.map(() => [503, "1"]),
  );

  proxy.restore();
  await until(async () => {
    const { status, headers } = await server.request("GET", "/api/articles");
    return status === 200 && !headers.has("age") && !headers.has("cache-status");
  });
});

test("memory survives a database that hangs, which closes no connection", async () => {
  const proxy = startProxy(await testDatabase());
  stops.push(proxy.stop);
  const server = await testServer({
    address: proxy.address,
    // The listener is the first to notice.
    limits: { ...limits, statementTimeoutMs: 10_000 },
    memory: { bytesMax: 10_000_000, staleMaxMs: 60_000 },
    listener: { times: { everyMs: 400, silentMs: 1_600, reopenMs: 15_000 } },
  });
  stops.push(server.stop);
  const before = await server.request("GET", "/api/articles");
  proxy.hang();
  await until(() => !server.memory.isServing());
  const during = await server.request("GET", "/api/articles");
  expect([during.status, during.text, during.headers.has("age")]).toEqual([200, before.text, true]);
});

test("nothing older than STALE_MAX is served", async () => {
  const { proxy, server } = await behindProxy({ ageMaxMs: 1, staleMaxMs: 1 });
  expect((await server.request("GET", "/api/articles")).status).toBe(200);
  await takeAway(server, proxy);
  expect((await server.request("GET", "/api/articles")).status).toBe(503);
});

test("what is kept survives the silence of other servers only while the database is away, and nothing that has changed is served", async () => {
  let isAway = true;
  const memory = createMemory({
    bytesMax: 1_000_000,
    staleMaxMs: 60_000,
    isAway: () => isAway,
    report: async () => {},
  });
  memory.setServing(true);
  const shelf = memory.shelf<number>("test");
  const load = (topic: string, value: number) => shelf.load(topic, async () => ({ value, topics: [topic], bytes: 1 }));
  await load("kept", 1);
  await load("changed", 2);
  memory.forget(["changed"]);
  memory.setServing(false);
  expect([shelf.findStale("kept")?.value, shelf.findStale("changed")]).toEqual([1, undefined]);
  expect(shelf.find("kept")).toBeUndefined();
  isAway = false;
  expect(shelf.findStale("kept")).toBeUndefined();
  memory.setServing(false);
  isAway = true;
  expect(shelf.findStale("kept")).toBeUndefined();
});
