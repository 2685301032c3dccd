import { afterEach, expect, test } from "bun:test";
import { randomUUID } from "node:crypto";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { openPgPool } from "../../src/db/pg-pool.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { read, write } from "../../src/db/statements.ts";
import { connect, testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

// Servers of a cluster are proxies here, in front of one PostgreSQL. test/cluster has a real cluster.

const LIMITS = {
  poolMax: 4,
  connectTimeoutMs: 1_000,
  queueTimeoutMs: 1_000,
  statementTimeoutMs: 5_000,
  failoverWaitMs: 40_000,
};
const ONE = read<{ one: number }>("failover_test_read", "select 1 as one");
const NAP = read<unknown>("failover_test_nap", "select pg_sleep(0.2)::text as nap");
const SLOW_ADD = write("failover_test_slow_write", "insert into failover_test select $1 from pg_sleep(0.3)");
const ADD = write("failover_test_write", "insert into failover_test values ($1)");

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function proxyTo(address: DatabaseAddress): ReturnType<typeof startProxy> {
  const proxy = startProxy(address);
  stops.push(proxy.stop);
  return proxy;
}

function open(address: DatabaseAddress, limits: Partial<typeof LIMITS> = {}): Database {
  const db = openDatabase(address, { ...LIMITS, ...limits });
  stops.push(() => db.close(0));
  return db;
}

/** A database with a table for `ADD`, and how often it has each value. */
async function withTable() {
  const address = await testDatabase();
  const sql = connect(address);
  await sql`create table failover_test (value text)`;
  const valuesOf = async () =>
    ((await sql`select value from failover_test order by value`) as { value: string }[]).map(({ value }) => value);
  return { address, sql, valuesOf };
}

const waiting = (db: Database): number => db.state().read.waiting + db.state().write.waiting;

/**
 * A read that waits. When it does, the driver has seen that all connections are closed: a write before that would fail, as
 * it may have been executed.
 */
async function waitingRead(db: Database): Promise<{ reading: Promise<unknown> }> {
  const reading = db.rows(ONE, []);
  await until(() => db.state().read.waiting === 1);
  return { reading };
}

test("reads and writes wait while the server refuses connections, and each write runs once", async () => {
  const { address, valuesOf } = await withTable();
  const proxy = proxyTo(address);
  const db = open(proxy.address);
  await Promise.all([db.rows(ONE, []), db.rows(ADD, ["before"])]);
  proxy.refuse();
  const { reading } = await waitingRead(db);
  const results = Promise.all([
    ...["a", "b", "c"].map((value) => db.rows(ADD, [value])),
    db.transaction((tx) => tx.rows(ADD, ["d"])),
    reading,
  ]);
  await until(() => waiting(db) === 5);
  proxy.restore();
  expect((await results)[4]).toEqual([{ one: 1 }]);
  expect(await valuesOf()).toEqual(["a", "b", "before", "c", "d"]);
});

test("after FAILOVER_WAIT, statements fail, and further ones do so without waiting", async () => {
  const { address } = await withTable();
  const proxy = proxyTo(address);
  const db = open(proxy.address, { failoverWaitMs: 600 });
  proxy.refuse();
  await expect(db.rows(ONE, [])).rejects.toThrow("unavailable");
  const late = db.rows(ONE, []);
  expect(waiting(db)).toBe(0);
  await expect(late).rejects.toThrow("unavailable");
});

test("no more than 1,000 statements wait", async () => {
  const { address } = await withTable();
  const proxy = proxyTo(address);
  const db = open(proxy.address);
  await db.rows(ONE, []);
  proxy.refuse();
  const { reading } = await waitingRead(db);
  let refused = 0;
  const others = Array.from({ length: 1_050 }, () =>
    db.rows(ONE, []).catch(() => {
      refused++;
    }),
  );
  await until(() => refused === 51);
  expect(waiting(db)).toBe(1_000);
  proxy.restore();
  await Promise.all([reading, ...others]);
  expect(refused).toBe(51);
});

test("the time of an outage does not count as waiting behind other statements", async () => {
  const { address } = await withTable();
  const proxy = proxyTo(address);
  const db = open(proxy.address);
  await db.rows(ONE, []);
  proxy.refuse();
  // More than there are connections.
  const reads = [1, 2, 3, 4].map(() => db.rows(NAP, []));
  await until(() => db.state().read.waiting === 4);
  await Bun.sleep(LIMITS.queueTimeoutMs + 100);
  proxy.restore();
  expect(await Promise.all(reads)).toHaveLength(4);
});

test("after an outage, reads go first", async () => {
  const { address, valuesOf } = await withTable();
  const proxy = proxyTo(address);
  const db = open(proxy.address);
  await Promise.all([db.rows(ONE, []), db.rows(ADD, ["before"])]);
  proxy.refuse();
  const { reading } = await waitingRead(db);
  let readsWaiting: number | undefined;
  const writes = ["a", "b", "c"].map(async (value) => {
    await db.rows(ADD, [value]);
    readsWaiting ??= db.state().read.waiting;
  });
  await until(() => db.state().write.waiting === 3);
  const reads = Array.from({ length: 900 }, () => db.rows(ONE, []));
  await until(() => db.state().read.waiting === 901);
  proxy.restore();
  await Promise.all([reading, ...reads, ...writes]);
  expect(readsWaiting).toBe(0);
  expect(await valuesOf()).toEqual(["a", "b", "before", "c"]);
});

test("connections that are lost while others wait cost what is in flight, and nothing that waits", async () => {
  const { address, valuesOf } = await withTable();
  const proxy = proxyTo(address);
  const db = open({ ...proxy.address, target: "primary" }, { queueTimeoutMs: 30_000 });
  const failed: string[] = [];
  const writes = Array.from({ length: 24 }, (_, i) => `value ${i}`).map((value) =>
    db.rows(SLOW_ADD, [value]).catch(() => failed.push(value)),
  );
  // Of four connections.
  await until(() => db.state().write.inUse === 4 && db.state().write.waiting === 20);
  await until(async () => (await sleeping(address)) === 4);
  proxy.cut();
  await Promise.all(writes);
  expect(failed.sort()).toEqual(["value 0", "value 1", "value 2", "value 3"]);
  expect(await valuesOf()).toEqual(expect.arrayContaining(["value 4", "value 23"]));
});

const sleeping = async (address: DatabaseAddress): Promise<number> => {
  const [row] = await connect(address)`select count(*)::integer as count from pg_stat_activity
    where datname = current_database() and wait_event = 'PgSleep'`;
  return row.count;
};

test("what was never sent, as its connection was not established yet, runs at the server that takes over", async () => {
  const { address, valuesOf } = await withTable();
  const first = proxyTo(address);
  const second = proxyTo(address);
  const { hostname, port } = second.address;
  const hosts: DatabaseAddress = { ...first.address, otherHosts: [{ hostname, port }], target: "primary" };
  const db = open(hosts, { connectTimeoutMs: 30_000 });
  await db.rows(ADD, ["before"]);
  first.hang();
  const failed: string[] = [];
  const writes = ["on the open connection", "a", "b"].map((value) =>
    db.rows(ADD, [value]).catch(() => failed.push(value)),
  );
  await first.whenSwallowed();
  await db.primary.search();
  await Promise.all(writes);
  expect(failed).toEqual(["on the open connection"]);
  expect(await valuesOf()).toEqual(["a", "b", "before"]);
});

test("a primary that takes no writes refuses them with 503, and is not away: reads continue", async () => {
  const { address, sql, valuesOf } = await withTable();
  const db = open({ ...address, target: "primary" });
  await db.rows(ADD, ["before"]);
  await sql.unsafe(`alter database ${address.database} set default_transaction_read_only = on`);
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()`;
  for (let i = 0; i < 3; i++) {
    await expect(db.rows(ADD, ["never"])).rejects.toThrow("unavailable");
    expect(await db.rows(ONE, [])).toEqual([{ one: 1 }]);
    expect(db.isAway()).toBe(false);
  }
  await sql.unsafe("set default_transaction_read_only = off");
  await sql.unsafe(`alter database ${address.database} reset default_transaction_read_only`);
  await db.rows(ADD, ["later"]);
  expect(await valuesOf()).toEqual(["before", "later"]);
});

test("a primary that accepts no more connections is used on those that are open", async () => {
  const { address, sql } = await withTable();
  const db = open({ ...address, target: "primary" });
  // A read that lasts makes the next one open another connection.
  await Promise.all([db.rows(NAP, []), db.rows(NAP, [])]);
  const opened: { pid: number }[] = await sql`select pid from pg_stat_activity
    where datname = current_database() and query = ${NAP.text} order by backend_start`;
  expect(opened).toHaveLength(2);
  await sql.unsafe(`alter database ${address.database} connection limit 0`);
  await sql`select pg_terminate_backend(${opened[0]?.pid ?? 0})`;
  await until(() => db.primary.searchingSince() !== undefined);
  for (let i = 0; i < 5; i++) expect(await db.rows(ONE, [])).toEqual([{ one: 1 }]);
  while (performance.now() - (db.primary.searchingSince() ?? 0) < 700) await db.rows(ONE, []);
  expect(db.isAway()).toBe(false);
  await sql.unsafe(`alter database ${address.database} connection limit -1`);
  await until(() => db.primary.searchingSince() === undefined);
  expect(await db.rows(ONE, [])).toEqual([{ one: 1 }]);
});

test("statements, notifications and the job queue move to the server that takes over", async () => {
  const address = await testDatabase();
  const first = proxyTo(address);
  const second = proxyTo(address);
  const { hostname, port } = second.address;
  const hosts: DatabaseAddress = { ...first.address, otherHosts: [{ hostname, port }], target: "primary" };
  second.refuse();
  const memory = { bytesMax: 1_000_000 };
  const server = await testServer({ address: hosts, limits: { failoverWaitMs: 40_000 }, memory });
  stops.push(server.stop);
  const pool = await openPgPool(server.db.primary, {
    max: 1,
    applicationName: "conduit jobs",
    connectTimeoutMs: 1_000,
    statementTimeoutMs: 1_000,
    onError() {},
  });
  stops.push(() => pool.end());
  await pool.query("select 1");
  const other = await testServer({ address, memory });
  stops.push(other.stop);
  const user = await server.register("ada");

  first.refuse();
  second.restore();
  const [article, list] = await Promise.all([
    server.publish(user, { title: randomUUID() }),
    server.request("GET", "/api/articles", { token: user.token }),
  ]);
  expect(list.status).toBe(200);
  expect(server.db.primary.server().port).toBe(port);
  await until(async () => (await pool.query("select 1 as one").catch(() => undefined))?.rows[0].one === 1);
  const listening = () => server.memory.state().changes;
  const before = listening();
  await other.request("POST", `/api/articles/${article.slug}/favorite`, { token: user.token });
  await until(() => listening() > before);
});

test("behind poolers, which keep their connections, the connection for notifications shows that the primary has moved", async () => {
  const address = await testDatabase();
  const both = (first: DatabaseAddress, { hostname, port }: DatabaseAddress): DatabaseAddress => ({
    ...first,
    otherHosts: [{ hostname, port }],
    target: "primary",
  });
  const firstPooler = proxyTo(address);
  const secondPooler = proxyTo(address);
  const firstNode = proxyTo(address);
  const times = { everyMs: 100, silentMs: 300, reopenMs: 1_500 };
  const listener = { address: both(firstNode.address, proxyTo(address).address), times };
  const server = await testServer({ address: both(firstPooler.address, secondPooler.address), listener });
  stops.push(server.stop);
  const { token } = await server.register("ada");
  const request = () => server.request("GET", "/api/user", { token });
  expect((await request()).status).toBe(200);
  // New connections fail, and those that there are continue.
  firstPooler.leadTo({ ...address, socketPath: "/nowhere" });
  firstNode.refuse();
  await until(() => server.db.primary.server().port === secondPooler.address.port);
  expect((await request()).status).toBe(200);
});

test("a search stays at a server that can be used, though another one can, too", async () => {
  const address = await testDatabase();
  const first = proxyTo(address);
  const second = proxyTo(address);
  const { hostname, port } = second.address;
  const db = open({ ...first.address, otherHosts: [{ hostname, port }], target: "primary" });
  first.refuse();
  await db.primary.search();
  expect(db.primary.server().port).toBe(port);
  first.restore();
  for (let i = 0; i < 5; i++) {
    await db.primary.search();
    expect(db.primary.server().port).toBe(port);
  }
});

test("a lost connection is enough to look for the primary: the old one may be back as a standby before the next read", async () => {
  const address = await testDatabase();
  const first = proxyTo(address);
  const second = proxyTo(address);
  const { hostname, port } = second.address;
  const db = open({ ...first.address, otherHosts: [{ hostname, port }], target: "primary" });
  await db.rows(ONE, []);
  first.refuse();
  await until(() => db.primary.server().port === port);
});

test("after the end, nobody searches", async () => {
  const db = open(await testDatabase());
  await db.close(0);
  void db.primary.search();
  expect(db.primary.searchingSince()).toBeUndefined();
});
