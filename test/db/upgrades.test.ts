import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { restoreBackup } from "../../src/db/backup/restore.ts";
import { withMigrationLock } from "../../src/db/migration-lock.ts";
import type { Migration } from "../../src/db/migration-steps.ts";
import { migrate } from "../../src/db/migrations.ts";
import { backUp } from "../support/backup.ts";
import { connect, testDatabase, testServer } from "../support/harness.ts";
import { until } from "../support/until.ts";

const step = (version: string, sql: string, more: Partial<Migration> = {}): Migration => ({
  version,
  file: `${version}_step.sql`,
  sql,
  ...more,
});
const ONE = step("0001", "create table one (id integer); insert into one select generate_series(1, 25);");
const INDEX = step(
  "0002",
  "-- create index concurrently, in a comment\ncreate index concurrently one_id_idx on one (id);",
  {
    mode: "index",
  },
);

const indexes = (sql: SQL) =>
  sql`select indexrelid::regclass::text as name, indisvalid as valid from pg_index where indrelid = 'one'::regclass`;
const applied = async (sql: SQL) =>
  (await sql`select version from schema_migrations order by 1`).map((row: { version: string }) => row.version);

describe("a program beside a newer schema", () => {
  test("starts if the newer migrations allow its version, and reports that", async () => {
    const address = await testDatabase({ migrated: false });
    const newer = step("0002", "create table two (id integer);", { oldestProgram: "0.9.0" });
    await migrate(address, [ONE, newer], 5_000);
    const lines: string[] = [];
    const options = { programVersion: "0.10.0", onProgress: (line: string) => lines.push(line) };
    expect(await migrate(address, [ONE], 5_000, options)).toEqual([]);
    expect(lines).toEqual([
      "The database has the schema of a newer version of Conduit, beside which version 0.10.0 may run.",
    ]);
  });

  test("refuses it if one of them does not, and names the version that is needed", async () => {
    const address = await testDatabase({ migrated: false });
    const newer = step("0002", "create table two (id integer);", { oldestProgram: "0.9.0" });
    const newest = step("0003", "drop table two;", { oldestProgram: "0.11.0" });
    await migrate(address, [ONE, newer, newest], 5_000);
    await expect(migrate(address, [ONE], 5_000, { programVersion: "0.10.0" })).rejects.toThrow(
      "The database has migration 0003_step.sql, which this version of Conduit (0.10.0) does not know: it is newer. Start version 0.11.0 or newer, or restore a backup from before.",
    );
  });

  test("starts while a newer one migrates, as it needs nothing of that", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE], 5_000);
    const migrating = { connectTimeoutMs: 5_000, timeoutMs: 0, onProgress() {} };
    await withMigrationLock(address, migrating, async () => {
      expect(await migrate(address, [ONE], 5_000, { timeoutMs: 0 })).toEqual([]);
      await expect(migrate(address, [ONE, INDEX], 5_000, { timeoutMs: 0 })).rejects.toThrow("is still migrating");
    });
  });

  test("still serves, and is ready", async () => {
    const server = await testServer();
    await server.sql`insert into schema_migrations values ('9999', '9999_newer.sql', 'x', now(), '0.0.1')`;
    const response = await server.request("GET", "/health/ready");
    expect(response.status).toBe(200);
    expect(await migrate(server.address, migrations, 5_000)).toEqual([]);
  });
});

describe("an index", () => {
  test("is built concurrently: beside an open transaction that has written to the table", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE], 5_000);
    const sql = connect(address);
    let migrating: Promise<string[]> | undefined;
    await sql.begin(async (tx) => {
      await tx`insert into one values (26)`;
      migrating = migrate(address, [ONE, INDEX], 5_000);
      await untilBuilding(sql);
      // An ordinary `create index` would make this wait, and the test fail by its lock timeout.
      await sql.unsafe("set lock_timeout = '2s'; insert into one values (27)").simple();
    });
    expect(await migrating).toEqual([INDEX.file]);
    expect([...(await indexes(sql))]).toEqual([{ name: "one_id_idx", valid: true }]);
  });

  test("that a killed run has left invalid is dropped, and built again", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE], 5_000);
    const sql = connect(address);
    await sql.begin(async (tx) => {
      await tx`insert into one values (26)`;
      const migrating = migrate(address, [ONE, INDEX], 5_000).catch((error: Error) => error);
      await untilBuilding(sql);
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'conduit migrate'`;
      expect(await migrating).toBeInstanceOf(StartupError);
    });
    expect([...(await indexes(sql))]).toEqual([{ name: "one_id_idx", valid: false }]);
    expect(await applied(sql)).toEqual(["0001"]);

    expect(await migrate(address, [ONE, INDEX], 5_000)).toEqual([INDEX.file]);
    expect([...(await indexes(sql))]).toEqual([{ name: "one_id_idx", valid: true }]);
    expect(await applied(sql)).toEqual(["0001", "0002"]);
  });

  test("that was finished by a run that could not record it is only recorded", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE], 5_000);
    const sql = connect(address);
    await sql`create index one_id_idx on one (id)`;
    const [before] = await sql`select 'one_id_idx'::regclass::oid as oid`;
    expect(await migrate(address, [ONE, INDEX], 5_000)).toEqual([INDEX.file]);
    expect(await sql`select 'one_id_idx'::regclass::oid as oid`).toEqual([before]);
  });

  test("that cannot be built leaves nothing behind", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [step("0001", "create table one (id integer); insert into one values (1), (1);")], 5_000);
    const sql = connect(address);
    const unique = { ...INDEX, sql: "create unique index concurrently one_id_idx on one (id);" };
    const before = step("0001", "create table one (id integer); insert into one values (1), (1);");
    await expect(migrate(address, [before, unique], 5_000)).rejects.toThrow("could not create unique index");
    expect([...(await indexes(sql))]).toEqual([]);
  });

  test("that waits for an older transaction gives up after the timeout, and the next run builds it again", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE], 5_000);
    const sql = connect(address);
    await sql.begin(async (tx) => {
      await tx`insert into one values (26)`;
      await expect(migrate(address, [ONE, INDEX], 5_000, { timeoutMs: 300 })).rejects.toThrow(
        "Migration 0002_step.sql waits for a lock on a table that another transaction uses",
      );
    });
    expect(await applied(sql)).toEqual(["0001"]);
    expect(await migrate(address, [ONE, INDEX], 5_000)).toEqual([INDEX.file]);
    expect([...(await indexes(sql))]).toEqual([{ name: "one_id_idx", valid: true }]);
  });
});

describe("batches", () => {
  const column = step("0002", "alter table one add column twice integer;");
  const fill = step(
    "0003",
    `update one set twice = id * 2
      where ctid = any (array(select ctid from one where twice is null limit 10));`,
    { mode: "batches" },
  );

  test("change all rows, each in a transaction of its own, and are recorded at the end", async () => {
    const address = await testDatabase({ migrated: false });
    expect(await migrate(address, [ONE, column, fill], 5_000)).toEqual([ONE.file, column.file, fill.file]);
    const sql = connect(address);
    const [row] = await sql`
      select count(*) filter (where twice = id * 2)::integer as filled, count(distinct xmin::text)::integer as transactions
        from one`;
    expect(row).toEqual({ filled: 25, transactions: 3 });
    expect(await applied(sql)).toEqual(["0001", "0002", "0003"]);
  });

  test("continue where a failed run has ended", async () => {
    const address = await testDatabase({ migrated: false });
    await migrate(address, [ONE, column], 5_000);
    const sql = connect(address);
    await sql`alter table one add constraint small check (twice < 50)`;
    await expect(migrate(address, [ONE, column, fill], 5_000)).rejects.toThrow("Migration 0003_step.sql failed: ");
    const [{ done }] = await sql`select count(twice)::integer as done from one`;
    expect(done).toBe(20);
    await sql`alter table one drop constraint small`;
    expect(await migrate(address, [ONE, column, fill], 5_000)).toEqual([fill.file]);
    const [row] =
      await sql`select count(distinct xmin::text)::integer as transactions, count(twice)::integer as filled from one`;
    expect(row).toEqual({ transactions: 3, filled: 25 });
  });
});

describe("a restore, which is one transaction", () => {
  const next = String(migrations.length + 1).padStart(4, "0");
  const index = step(next, "create index concurrently articles_title_idx on articles (title);", { mode: "index" });
  const afterNext = String(migrations.length + 2).padStart(4, "0");
  const fill = step(
    afterNext,
    "update articles set title = upper(title) where id in (select id from articles where title <> upper(title) limit 1);",
    { mode: "batches" },
  );
  let folder: string;
  let file: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "conduit-upgrades-"));
    file = join(folder, "old.backup");
    const server = await testServer();
    const author = await server.register("author");
    await server.publish(author, { title: "one" });
    await server.publish(author, { title: "two" });
    await backUp(server.address, file);
    await server.stop();
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const restore = (address: DatabaseAddress) =>
    restoreBackup(address, [...migrations, index, fill], file, {
      finish: [],
      connectTimeoutMs: 5_000,
      timeoutMs: 20_000,
      onProgress() {},
    });

  test("also applies indexes and batches that are missing in the backup", async () => {
    const address = await testDatabase({ migrated: false });
    await restore(address);
    const sql = connect(address);
    expect(await sql`select indisvalid from pg_index where indexrelid = 'articles_title_idx'::regclass`).toEqual([
      { indisvalid: true },
    ]);
    const titles = await sql`select title from articles order by id`;
    expect(titles.map((row: { title: string }) => row.title)).toEqual(["ONE", "TWO"]);
  });

  test("waits for another server that builds an index, instead of deadlocking with it", async () => {
    const address = await testDatabase();
    const sql = connect(address);
    let migrating: Promise<string[]> | undefined;
    let restoring: Promise<unknown> | undefined;
    await sql.begin(async (tx) => {
      await tx`lock table articles in row exclusive mode`;
      migrating = migrate(address, [...migrations, index], 5_000);
      await untilBuilding(sql);
      restoring = restore(address).catch((error: Error) => error);
      await until(async () => {
        const [row] = await sql`
          select count(*)::integer as n from pg_stat_activity
           where datname = current_database() and application_name = 'conduit migration lock'`;
        return row.n === 2;
      });
    });
    expect(await migrating).toEqual([index.file]);
    // The database is now newer than the backup. The restore looked for that under the lock, when the index was finished.
    expect(await restoring).toMatchObject({ message: expect.stringContaining("newer schema than the backup") });
  });
});

/** Resolves when a migration waits for older transactions while it builds an index. */
async function untilBuilding(sql: SQL): Promise<void> {
  await until(async () => {
    const waiting = await sql`
      select from pg_stat_activity where datname = current_database() and application_name = 'conduit migrate'
         and wait_event_type = 'Lock' and query like '%create%index concurrently%'`;
    return waiting.length === 1;
  });
}
