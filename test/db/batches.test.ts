import { expect, test } from "bun:test";
import type { SQL } from "bun";
import type { PoolLimits } from "../../src/db/bounded-pool.ts";
import { violatedConstraint } from "../../src/db/errors.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { batch } from "../../src/db/statements.ts";
import { ApiError } from "../../src/http/errors.ts";
import { connect, testDatabase } from "../support/harness.ts";
import { untilWaiting } from "../support/locks.ts";

const LIMITS = { poolMax: 2, connectTimeoutMs: 3_000, queueTimeoutMs: 3_000, statementTimeoutMs: 5_000 };

/** A row of a call, with the number of calls in its batch. */
type Added = { id: number; text: string; together: number };

const ADD = batch<Added>(
  "test_batch_add",
  { types: { id: "integer", text: "text" } },
  `added as (insert into batch_test (id, text) select id, text from item returning *)
   select place, id, added.text, (select count(*) from item)::integer as together from item join added using (id)`,
);
const COUNT = batch<{ n: number; together: number }>(
  "test_batch_count",
  { types: { id: "integer" }, key: ["id"] },
  `counted as (update batch_test b set n = b.n + 1 from item where b.id = item.id returning b.*)
   select place, n, (select count(*) from item)::integer as together from item join counted using (id)`,
);
const CRASH = batch<{ run: string }>(
  "test_batch_crash",
  { types: { id: "integer" } },
  `run as materialized (select nextval('batch_test_runs'))
   select place, pg_terminate_backend(pg_backend_pid()) from item, run`,
);

async function openTable(limits: Partial<PoolLimits> = {}): Promise<{ db: Database; sql: SQL }> {
  const address = await testDatabase({ migrated: false });
  const sql = connect(address);
  await sql`create table batch_test (id integer constraint batch_test_pkey primary key, text text, n integer default 0)`;
  await sql`create sequence batch_test_runs`;
  return { db: openDatabase(address, { ...LIMITS, ...limits }), sql };
}

const add = (db: Database, id: number, text = "") => db.row(ADD, { id, text }) as Promise<Added>;

test("a call starts at once, and those that arrive while it runs go together", async () => {
  const { db } = await openTable();
  const rows = await Promise.all([1, 2, 3, 4].map((id) => add(db, id, `"${id}" {\\},\n`)));
  expect(rows).toEqual([
    expect.objectContaining({ id: 1, text: '"1" {\\},\n', together: 1 }),
    expect.objectContaining({ id: 2, text: '"2" {\\},\n', together: 3 }),
    expect.objectContaining({ id: 3, text: '"3" {\\},\n', together: 3 }),
    expect.objectContaining({ id: 4, text: '"4" {\\},\n', together: 3 }),
  ]);
  await db.close(1_000);
});

test("a batch has at most 64 calls and 256 KiB of text, and a longer call goes alone", async () => {
  const { db } = await openTable();
  const small = await Promise.all(Array.from({ length: 100 }, (_, i) => add(db, i)));
  expect(small.map(({ together }) => together)).toEqual([1, ...Array(64).fill(64), ...Array(35).fill(35)]);
  const texts = [100, 100, 100, 100, 300, 100].map((kib) => "x".repeat(kib * 1024));
  const large = await Promise.all(texts.map((text, i) => add(db, 1_000 + i, text)));
  expect(large.map(({ together }) => together)).toEqual([1, 2, 2, 2, 1, 2]);
  await db.close(1_000);
});

test("no call fails because of another", async () => {
  const { db, sql } = await openTable();
  await add(db, 3);
  const results = await Promise.allSettled([1, 2, 3, 4].map((id) => add(db, id)));
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
  expect(violatedConstraint((results[2] as PromiseRejectedResult).reason)).toBe("batch_test_pkey");
  expect((await sql`select id from batch_test order by id`).map(({ id }: Added) => id)).toEqual([1, 2, 3, 4]);
  await db.close(1_000);
});

test("a call whose row is locked does not delay the others of its batch for long", async () => {
  const { db, sql } = await openTable();
  await Promise.all([1, 2, 3, 4].map((id) => add(db, id)));
  const hold = await sql.reserve();
  await hold`begin`;
  await hold`select from batch_test where id = 3 for update`;
  const [first, second, locked, fourth] = [1, 2, 3, 4].map((id) => db.row(COUNT, { id }));
  expect(await Promise.all([first, second, fourth])).toMatchObject([{ n: 1 }, { n: 1 }, { n: 1 }]);
  expect(await Promise.race([locked, "still waits"])).toBe("still waits");
  await hold`commit`;
  hold.release();
  expect(await locked).toMatchObject({ n: 1 });
  await db.close(1_000);
});

test("calls with the same key are never in one batch", async () => {
  const { db } = await openTable();
  await Promise.all([1, 2].map((id) => add(db, id)));
  const rows = await Promise.all([1, 1, 2, 1, 2].map((id) => db.row(COUNT, { id })));
  // The statement would count two calls with the same id once.
  expect(rows.map((row) => row?.n).sort()).toEqual([1, 1, 2, 2, 3]);
  expect(rows.map((row) => row?.together)).toEqual([1, 2, 2, 2, 2]);
  await db.close(1_000);
});

test("a batch that waits for a lock does not keep later calls waiting", async () => {
  const { db, sql } = await openTable({ batchLockTimeoutMs: 60_000 });
  await Promise.all([1, 2].map((id) => add(db, id)));
  const hold = await sql.reserve();
  await hold`begin`;
  await hold`select from batch_test where id = 1 for update`;
  const locked = db.row(COUNT, { id: 1 });
  await untilWaiting(sql, 1);
  expect(await db.row(COUNT, { id: 2 })).toMatchObject({ n: 1 });
  await hold`commit`;
  hold.release();
  expect(await locked).toMatchObject({ n: 1 });
  await db.close(1_000);
});

test("a batch whose connection closed does not run again, as it may have taken effect", async () => {
  const { db, sql } = await openTable();
  const results = await Promise.allSettled([1, 2, 3].map((id) => db.row(CRASH, { id })));
  for (const result of results) {
    expect(result.status).toBe("rejected");
    expect((result as PromiseRejectedResult).reason).toBeInstanceOf(ApiError);
  }
  const [{ runs }] = await sql`select last_value::integer as runs from batch_test_runs`;
  // The first alone, and the two others together.
  expect(runs).toBe(2);
  await db.close(1_000);
});

test("a statement for batches can run in a transaction", async () => {
  const { db, sql } = await openTable();
  const failing = db.transaction(async (tx) => {
    expect(await tx.row(ADD, { id: 1, text: "a" })).toMatchObject({ id: 1, text: "a", together: 1 });
    throw new Error("changed my mind");
  });
  await expect(failing).rejects.toThrow("changed my mind");
  expect(await sql`select from batch_test`).toHaveLength(0);
  await db.close(1_000);
});
