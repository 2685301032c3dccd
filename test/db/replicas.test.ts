import { expect, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";

// What a standby shows is tested with a real one: test/cluster.

const MAIN = "postgres://ann:pw@a.example,b.example/db?target_session_attrs=read-write";

test("DATABASE_READ_URL names standbys of DATABASE_URL, and needs one", () => {
  const load = (url: string) => loadConfig({ DATABASE_URL: MAIN, DATABASE_READ_URL: url }).databaseUrl?.replicas;
  for (const target of ["", "?target_session_attrs=any", "?target_session_attrs=prefer-standby"]) {
    expect(load(`postgres://ann:pw@b.example,c.example:6/db${target}`)).toMatchObject({
      hostname: "b.example",
      otherHosts: [{ hostname: "c.example", port: 6 }],
      target: "standby",
    });
  }
  expect(() => load("postgres://h/db?target_session_attrs=read-write")).toThrow(
    "DATABASE_READ_URL has target_session_attrs=read-write, but is for standbys: use prefer-standby",
  );
  expect(() => load("postgres://h/db?target_session_attrs=best")).toThrow("known: any, prefer-standby");
  expect(() => loadConfig({ DATABASE_READ_URL: "postgres://h/db" })).toThrow("DATABASE_READ_URL needs DATABASE_URL");
});

test("the primary serves reads where DATABASE_READ_URL leads to no standby, is away, or hangs", async () => {
  const address = await testDatabase();
  const proxy = startProxy(address);
  const limits = { connectTimeoutMs: 500 };
  const replicas = { ...proxy.address, target: "standby" } as const;
  const server = await testServer({ address: { ...address, replicas }, limits, memory: { bytesMax: 0 } });
  const author = await server.register("author");
  const { slug } = await server.publish(author, { title: "At the primary" });
  const read = async () => {
    const paths = ["/api/articles", `/api/articles/${slug}`, "/api/search?q=primary", "/api/tags"];
    const responses = await Promise.all(paths.map((path) => server.request("GET", path, { token: author.token })));
    return responses.map(({ status }) => status);
  };
  expect(await read()).toEqual([200, 200, 200, 200]);
  proxy.refuse();
  expect(await read()).toEqual([200, 200, 200, 200]);
  proxy.restore();
  proxy.hang();
  expect(await read()).toEqual([200, 200, 200, 200]);
  const { served, stale, away } = server.db.replicas() ?? {};
  expect(served).toBe(0);
  expect((stale ?? 0) + (away ?? 0)).toBeGreaterThanOrEqual(12);
  await server.stop();
  proxy.stop();
});
