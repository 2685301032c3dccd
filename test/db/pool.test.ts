import { describe, expect, test } from "bun:test";
import { sqlState } from "../../src/db/errors.ts";
import { openDatabase } from "../../src/db/pool.ts";
import { read, textArray, write } from "../../src/db/statements.ts";
import { ApiError } from "../../src/http/errors.ts";
import { connect, testDatabase, testPostgres } from "../support/harness.ts";
import { untilWaiting } from "../support/locks.ts";

const LIMITS = { poolMax: 2, connectTimeoutMs: 3_000, queueTimeoutMs: 3_000, statementTimeoutMs: 5_000 };

const INSERT = write<{ id: number }>("test_insert", "insert into pool_test (id) values ($1) returning id");
const IDS = read<{ ids: number[] }>(
  "test_ids",
  "select coalesce(array_agg(id order by id), '{}') as ids from pool_test",
);
const LOCK = write("test_lock", "select from pool_test where id = $1 for update");
const NAMED = read<{ text: string }>(
  "test_named",
  "select :last || ' ' || :first || ' ' || :last || ' at ' || to_char(:at::timestamptz, 'HH24:MI:SS') || :tags::text[]::text as text",
);
const ONE = read<{ one: number }>("test_one", "select 1 as one");
const MODE = read<{ mode: string }>("test_mode", "select current_setting('plan_cache_mode') as mode");
const MODE_SLOW = read<{ mode: string }>("test_mode_slow", "select current_setting('plan_cache_mode') as mode", "slow");

async function testPool() {
  const address = await testDatabase({ migrated: false });
  const sql = connect(address);
  await sql`create table pool_test (id integer primary key)`;
  return { db: openDatabase(address, LIMITS), sql };
}

describe("parameters with names", () => {
  test("go to their places, each once, and leave casts and texts alone", async () => {
    const { db } = await testPool();
    const at = "2026-01-01T12:34:56Z";
    const row = await db.row(NAMED, { first: "Ada", last: "Lovelace", at, tags: textArray(["a"]) });
    expect(row).toEqual({ text: "Lovelace Ada Lovelace at 12:34:56{a}" });
    expect(NAMED.parameterNames).toEqual(["last", "first", "at", "tags"]);
    await db.close(1_000);
  });

  test("must all have a value", async () => {
    const { db } = await testPool();
    expect(() => db.rows(NAMED, { first: "Ada" })).toThrow("statement test_named has no value for :last");
    await db.close(1_000);
  });
});

describe("a transaction", () => {
  test("commits what it wrote, and returns the result of the work", async () => {
    const { db } = await testPool();
    const result = await db.transaction(async (tx) => {
      await tx.row(INSERT, [1]);
      await tx.row(INSERT, [2]);
      expect(await db.row(IDS, [])).toEqual({ ids: [] });
      return (await tx.row(IDS, []))?.ids;
    });
    expect(result).toEqual([1, 2]);
    expect(await db.row(IDS, [])).toEqual({ ids: [1, 2] });
    await db.close(1_000);
  });

  test("rolls back when the work throws, and passes the error on", async () => {
    const { db } = await testPool();
    const failing = db.transaction(async (tx) => {
      await tx.row(INSERT, [1]);
      throw new Error("changed my mind");
    });
    expect(failing).rejects.toThrow("changed my mind");
    await failing.catch(() => {});
    expect(await db.row(IDS, [])).toEqual({ ids: [] });
    expect(db.state().write).toMatchObject({ inUse: 0, waiting: 0 });
    await db.close(1_000);
  });

  test("runs again after a deadlock, and both transactions commit", async () => {
    const { db } = await testPool();
    await db.row(INSERT, [1]);
    await db.row(INSERT, [2]);
    const runs = [0, 0];
    // Both hold their first lock before either asks for its second.
    const bothHold = Promise.withResolvers<void>();
    let holding = 0;
    const crossing = (which: 0 | 1) =>
      db.transaction(async (tx) => {
        runs[which] = (runs[which] ?? 0) + 1;
        await tx.rows(LOCK, [which + 1]);
        if (++holding === 2) bothHold.resolve();
        await bothHold.promise;
        await tx.rows(LOCK, [2 - which]);
        await tx.row(INSERT, [10 + which]);
      });
    await Promise.all([crossing(0), crossing(1)]);
    expect(await db.row(IDS, [])).toEqual({ ids: [1, 2, 10, 11] });
    // One at least was rolled back. Its second run may take its first lock again before the other wakes, and so collide again.
    expect(Math.max(...runs)).toBeGreaterThan(1);
    await db.close(1_000);
  });

  test("waits for a connection in the same queue as single writes, and leaves it when it ends", async () => {
    const { db } = await testPool();
    const release = Promise.withResolvers<void>();
    const open = [1, 2].map((id) =>
      db.transaction(async (tx) => {
        await tx.row(INSERT, [id]);
        await release.promise;
      }),
    );
    const waiting = db.row(INSERT, [3]);
    expect(db.state().write).toMatchObject({ inUse: 2, waiting: 1 });
    release.resolve();
    await Promise.all([...open, waiting]);
    expect(await db.row(IDS, [])).toEqual({ ids: [1, 2, 3] });
    expect(db.state().write).toMatchObject({ inUse: 0, waiting: 0 });
    await db.close(1_000);
  });
});

const SLEEP = read("test_sleep", "select pg_sleep($1)");
const WAIT_FOR_LOCK = read("test_wait_for_lock", "select pg_advisory_xact_lock($1)");

describe("slow statements", () => {
  test("in a queue longer than the hang timeout all finish, since each is timed from when it gets to the head", async () => {
    const address = await testDatabase({ migrated: false });
    const db = openDatabase(address, { ...LIMITS, statementTimeoutMs: 400, connectTimeoutMs: 400 });
    // Six on each of two connections: the last ones get their response after 1.5 s, the hang timeout is 0.8 s.
    const results = await Promise.all(Array.from({ length: 12 }, () => db.rows(SLEEP, [0.25])));
    expect(results).toHaveLength(12);
    await db.close(1_000);
  });

  test("keep others waiting behind them no longer than for a connection, and are no outage", async () => {
    const address = await testDatabase({ migrated: false });
    const db = openDatabase(address, { ...LIMITS, queueTimeoutMs: 300, statementTimeoutMs: 20_000 });
    const sql = connect(address);
    const holder = await sql.reserve();
    await holder`select pg_advisory_lock(1)`;
    // One on each of the two connections for reads.
    const slow = [db.rows(WAIT_FOR_LOCK, [1]), db.rows(WAIT_FOR_LOCK, [1])];
    await untilWaiting(sql, 2);
    const behind = await Promise.all([1, 2, 3].map(() => db.rows(ONE, []).catch(({ status }) => status)));
    expect<unknown>(behind).toEqual([503, 503, 503]);
    await holder`select pg_advisory_unlock(1)`;
    holder.release();
    expect(await Promise.all(slow)).toHaveLength(2);
    expect(await db.row(ONE, [])).toEqual({ one: 1 });
    // The server runs what nobody waits for any more.
    while (db.state().read.inUse > 0) await Bun.sleep(5);
    await db.close(1_000);
  }, 20_000);

  test("leave the other connection to quick ones", async () => {
    const { db, sql } = await testPool();
    const holder = await sql.reserve();
    await holder`select pg_advisory_lock(1)`;
    const order: string[] = [];
    const slow = db.rows(WAIT_FOR_LOCK, [1]).then(() => order.push("slow"));
    for (let i = 0; i < 50; i++) await db.row(IDS, []);
    order.push("quick");
    await holder`select pg_advisory_unlock(1)`;
    holder.release();
    await slow;
    expect(order).toEqual(["quick", "slow"]);
    await db.close(1_000);
  });
});

const RAISE = write("test_raise", "select raise_error($1)");
const ATTEMPTS = read<{ attempts: number }>("test_attempts", "select last_value::integer as attempts from attempts");

describe("a transient error of the database", () => {
  test.each([
    ["53100", "disk full", 1],
    ["53200", "out of memory", 1],
    ["53300", "too many connections", 1],
    ["58030", "input or output error", 1],
    ["25P03", "idle in transaction timeout", 1],
    ["55P03", "lock timeout", 5],
    ["57P05", "idle session timeout", 5],
    ["25P04", "transaction timeout", 5],
    ["40001", "serialization failure", 5],
    ["40P01", "deadlock", 5],
  ])("%s (%s) is 503 with Retry-After after %i attempts", async (code, _, attempts) => {
    const { db, sql } = await testPool();
    await sql`create sequence attempts`;
    await sql.unsafe(`create function raise_error(code text) returns void language plpgsql as
      $$ begin perform nextval('attempts'); raise exception 'on purpose' using errcode = code; end $$`);
    const error = await db.rows(RAISE, [code]).catch((caught) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect([error.status, error.headers]).toEqual([503, { "Retry-After": "1" }]);
    expect(await db.row(ATTEMPTS, [])).toEqual({ attempts });
    await db.close(1_000);
  });

  test("an error of the statement itself is passed on as it is, after one attempt", async () => {
    const { db, sql } = await testPool();
    await sql`create sequence attempts`;
    await sql.unsafe(`create function raise_error(code text) returns void language plpgsql as
      $$ begin perform nextval('attempts'); raise exception 'on purpose' using errcode = code; end $$`);
    const error = await db.rows(RAISE, ["22003"]).catch((caught) => caught);
    expect(sqlState(error)).toBe("22003");
    expect(await db.row(ATTEMPTS, [])).toEqual({ attempts: 1 });
    await db.close(1_000);
  });
});

test("a database that refuses new connections is 503, and serves again when it accepts them", async () => {
  const address = await testDatabase({ migrated: false });
  const { admin } = await testPostgres();
  const sql = connect(admin, 1);
  const username = `conduit_refused_${process.pid}`;
  await sql.unsafe(`create role ${username} login password 'secret'`);
  const db = openDatabase({ ...address, username, password: "secret" }, LIMITS);
  const refuse = async (how: string) => {
    await sql.unsafe(how);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${username}`;
    return await db.row(ONE, []).catch(({ status, headers }) => [status, headers]);
  };
  try {
    const unavailable = [503, { "Retry-After": "1" }];
    expect(await db.row(ONE, [])).toEqual({ one: 1 });
    expect<unknown>(await refuse(`alter role ${username} nologin`)).toEqual(unavailable);
    await sql.unsafe(`alter role ${username} login`);
    expect(await db.row(ONE, [])).toEqual({ one: 1 });
    expect<unknown>(await refuse(`alter database ${address.database} allow_connections false`)).toEqual(unavailable);
    await sql.unsafe(`alter database ${address.database} allow_connections true`);
    expect(await db.row(ONE, [])).toEqual({ one: 1 });
  } finally {
    await db.close(1_000);
    await sql.unsafe(`drop role ${username}`);
  }
});

test("slow reads are planned for their values, all others once a connection", async () => {
  const { db } = await testPool();
  expect(await db.row(MODE, [])).toEqual({ mode: "force_generic_plan" });
  expect(await db.row(MODE_SLOW, [])).toEqual({ mode: "force_custom_plan" });
  await db.close(1_000);
});
