import { expect, test } from "bun:test";
import { SQL } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { loadConfig } from "../../src/config/settings.ts";
import type { BoundedPool } from "../../src/db/bounded-pool.ts";
import { openReplicas } from "../../src/db/replicas.ts";
import { read } from "../../src/db/statements.ts";
import { testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";

// What a standby shows is tested with real ones: standbys.test.ts and test/cluster.

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

const ONE = read<{ one: number }>("replicas_test_read", "select 1 as one");

/** Replicas on a standby that is up to date, whose reads do what `run` says, and where connections lead. */
function upToDateStandby(run: (lead: (server: DatabaseAddress) => void) => Promise<unknown[]>) {
  let server = { hostname: "b.example" } as DatabaseAddress;
  const lead = (to: DatabaseAddress) => {
    server = to;
  };
  const standby = {
    server: () => server,
    mustBePrimary: false,
    search: async () => {},
    searchingSince: () => undefined,
    onFound() {},
    stop() {},
  };
  const pool = {
    run: async (text: string) => (text === ONE.text ? await run(lead) : [{ isStandby: true, hasReplayed: true }]),
    recover: () => 0,
  } as Pick<BoundedPool, "run" | "recover"> as BoundedPool;
  const primary = { run: async () => [{ end: "0/1", isRecorded: true }], isOut: () => false };
  return openReplicas(standby, { fast: pool, slow: pool, search: pool }, { reads: primary, writes: primary });
}

test("what a read found at another standby than that at which the server has looked does not count", async () => {
  const found = [{ one: 1 }];
  const same = upToDateStandby(async () => found);
  expect(await same.rows(ONE, [])).toEqual(found);
  const moving = upToDateStandby(async (lead) => {
    lead({ hostname: "c.example" } as DatabaseAddress);
    return found;
  });
  expect(await moving.rows(ONE, [])).toBeUndefined();
  expect([same.state(), moving.state()]).toEqual([
    { served: 1, stale: 0, away: 0 },
    { served: 0, stale: 0, away: 1 },
  ]);
});

test("a read that takes too long at a standby is a 503, as at the primary", async () => {
  const replicas = upToDateStandby(async () => {
    type Options = ConstructorParameters<typeof SQL.PostgresError>[1];
    const options = { code: "ERR_POSTGRES_SERVER_ERROR", errno: "57014" } as Options;
    throw new SQL.PostgresError("canceling statement due to statement timeout", options);
  });
  await expect(replicas.rows(ONE, [])).rejects.toThrow("unavailable");
});
