import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { read, slow, write } from "../../src/db/statements.ts";
import { startProxy } from "../support/proxy.ts";
import { createNodes, type Nodes } from "../support/standbys.ts";
import { until } from "../support/until.ts";

// What real standbys do, one step at a time. test/cluster has a cluster that decides by itself, under load.

setDefaultTimeout(60_000);

const LIMITS = {
  poolMax: 4,
  connectTimeoutMs: 1_000,
  queueTimeoutMs: 1_000,
  statementTimeoutMs: 5_000,
  failoverWaitMs: 40_000,
};
const ADD = write("standbys_test_write", "insert into standbys_test values ($1)");
const VALUES = read<{ value: string }>("standbys_test_read", "select value from standbys_test order by value");

/** Takes ten minutes at a standby, if its parameter is true. */
const NAP = read<unknown>(
  "standbys_test_nap",
  "select case when $1::boolean and pg_is_in_recovery() then pg_sleep(600)::text end as nap",
);
const NAPPING = "select max(pid) from pg_stat_activity where wait_event = 'PgSleep'";

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function newNodes(count: number): Promise<Nodes> {
  const nodes = await createNodes(count);
  stops.push(nodes.stopAll);
  return nodes;
}

function open(address: DatabaseAddress, limits: Partial<typeof LIMITS> = {}): Database {
  const db = openDatabase(address, { ...LIMITS, ...limits });
  stops.push(() => db.close(0));
  return db;
}

const several = (first: DatabaseAddress, ...others: DatabaseAddress[]): DatabaseAddress => ({
  ...first,
  otherHosts: others.map(({ hostname, port }) => ({ hostname, port })),
  target: "primary",
});

const valuesOf = async (db: Database) => (await db.rows(VALUES, [])).map(({ value }) => value);

const CREATE = "create table standbys_test (value text); grant all on standbys_test to conduit; select 1";

test("a standby with a history that a failover has ended serves no read, although it is ahead of the new primary", async () => {
  const nodes = await newNodes(3);
  const first = await nodes.startPrimary(0);
  // It has nothing of what follows, as in an asynchronous failover.
  const second = await nodes.startStandby(1, undefined);
  const ahead = await nodes.startStandby(2, first);
  const db = open({ ...several(first, second), replicas: { ...ahead, target: "standby" } });
  const served = () => db.replicas()?.served ?? 0;
  await nodes.ask(0, CREATE);
  await nodes.ask(0, "select pg_logical_emit_message(false, 'a lot', repeat('x', 4000000))::text");
  await db.rows(ADD, ["lost"]);
  await until(async () => (await valuesOf(db)).length === 1 && served() > 0);

  await nodes.stop(0);
  await nodes.promote(1);
  await nodes.ask(1, CREATE);
  await db.rows(ADD, ["kept"]);
  const before = served();
  for (let i = 0; i < 20; i++) expect(await valuesOf(db)).toEqual(["kept"]);
  expect(served()).toBe(before);
  // It would have been used: it has replayed more than the new primary has written.
  const isAhead = `select pg_last_wal_replay_lsn() > '${await nodes.ask(1, "select pg_current_wal_lsn()::text")}'`;
  expect(await nodes.ask(2, isAhead)).toBe(true);
});

test("a standby that follows the new primary serves reads again", async () => {
  const nodes = await newNodes(3);
  const first = await nodes.startPrimary(0);
  const proxy = startProxy(first);
  stops.push(proxy.stop);
  const second = await nodes.startStandby(1, first);
  // It finds the new primary where the old one was, as behind a service of Kubernetes.
  const third = await nodes.startStandby(2, proxy.address);
  const db = open({ ...several(first, second), replicas: { ...third, target: "standby" } });
  const served = () => db.replicas()?.served ?? 0;
  await nodes.ask(0, CREATE);
  await db.rows(ADD, ["a"]);
  await until(async () => (await valuesOf(db)).length === 1 && served() > 0);
  await until(async () => (await nodes.ask(1, "select to_regclass('standbys_test')::text")) === "standbys_test");

  await nodes.stop(0);
  await nodes.promote(1);
  proxy.leadTo(second);
  await db.rows(ADD, ["b"]);
  const before = served();
  await until(async () => {
    expect(await valuesOf(db)).toEqual(["a", "b"]);
    return served() > before;
  });
});

test("a read at a standby that hangs runs at the primary, without waiting for the limit of a statement", async () => {
  const nodes = await newNodes(2);
  const first = await nodes.startPrimary(0);
  const second = await nodes.startStandby(1, first);
  const proxy = startProxy(second);
  stops.push(proxy.stop);
  const replicas = { ...proxy.address, target: "standby" } as const;
  // Longer than the test may take.
  const db = open({ ...several(first), replicas }, { statementTimeoutMs: 600_000 });
  await until(async () => {
    await db.rows(NAP, [false]);
    return db.replicas()?.served === 1;
  });
  const reading = db.rows(NAP, [true]);
  await until(async () => (await nodes.ask(1, NAPPING)) !== null);
  proxy.hang();
  await reading;
  expect(db.replicas()?.served).toBe(1);
});

test("after a network has forgotten the connections to a standby, slow reads do not wait for them", async () => {
  const nodes = await newNodes(2);
  const first = await nodes.startPrimary(0);
  const proxy = startProxy(await nodes.startStandby(1, first));
  stops.push(proxy.stop);
  const replicas = { ...proxy.address, target: "standby" } as const;
  // Longer than the test may take.
  const db = open({ ...several(first), replicas }, { statementTimeoutMs: 600_000 });
  const served = () => db.replicas()?.served ?? 0;
  const slowNap = slow(NAP);
  await until(async () => {
    await db.rows(slowNap, [false]);
    return served() > 0;
  });
  proxy.hang();
  const reading = db.rows(NAP, [false]);
  await proxy.whenSwallowed();
  proxy.restore();
  await reading;
  const before = served();
  await until(async () => {
    await db.rows(slowNap, [false]);
    return served() > before;
  });
});

test("while the primary is away, no more than 1,000 reads wait, also with a standby", async () => {
  const nodes = await newNodes(2);
  const first = await nodes.startPrimary(0);
  const proxy = startProxy(first);
  stops.push(proxy.stop);
  const second = await nodes.startStandby(1, first);
  const db = open({ ...several(proxy.address), replicas: { ...second, target: "standby" } });
  await until(async () => {
    await db.rows(NAP, [false]);
    return (db.replicas()?.served ?? 0) > 0;
  });
  proxy.refuse();
  let refused = 0;
  // Also of those that arrive before anybody knows.
  const reads = Array.from({ length: 3_000 }, () =>
    db.rows(NAP, [false]).catch(() => {
      refused++;
    }),
  );
  await until(() => refused >= 2_000);
  proxy.restore();
  await Promise.all(reads);
  expect(refused).toBeLessThan(2_010);
});

/** A database whose primary, node 0, has ended, and whose standby, node 1, has the value "old" and is not promoted yet. */
async function withoutPrimary() {
  const nodes = await newNodes(2);
  const first = await nodes.startPrimary(0);
  const proxy = startProxy(first);
  stops.push(proxy.stop);
  const second = await nodes.startStandby(1, first);
  const db = open(several(proxy.address, second));
  await nodes.ask(0, CREATE);
  await db.rows(ADD, ["old"]);
  await until(async () => (await nodes.ask(1, "select to_regclass('standbys_test')::text")) === "standbys_test");

  await nodes.stop(0);
  return { nodes, proxy, second, db };
}

test("a primary that returns as a standby gets no statement before the new primary is there", async () => {
  const { nodes, proxy, db } = await withoutPrimary();
  proxy.leadTo(await nodes.startStandby(0, undefined));
  const reading = valuesOf(db);
  const writing = db.rows(ADD, ["new"]);
  await until(() => db.state().read.waiting === 1 && db.state().write.waiting === 1);
  // The old primary could serve by now.
  await until(async () => (await nodes.ask(0, "select count(*)::integer from standbys_test")) === 1);
  expect(db.state().read.waiting).toBe(1);
  await nodes.promote(1);
  await writing;
  expect(["old", "new"]).toEqual(expect.arrayContaining(await reading));
  expect(await valuesOf(db)).toEqual(["new", "old"]);
});

test("a primary that returns as a standby and refuses connections is left all the same", async () => {
  const { nodes, proxy, second, db } = await withoutPrimary();
  const returned = await nodes.startStandby(0, undefined);
  await nodes.refuse(0);
  proxy.leadTo(returned);
  const reading = valuesOf(db);
  await until(() => db.state().read.waiting === 1);
  // Longer than a search waits that may end at a server which refuses.
  await Bun.sleep(2_000);
  expect(db.state().read.waiting).toBe(1);
  await nodes.promote(1);
  expect(await reading).toEqual(["old"]);
  expect(db.primary.server().port).toBe(second.port);
});
