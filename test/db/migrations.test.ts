import { describe, expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { withMigrationLock } from "../../src/db/migration-lock.ts";
import type { Migration } from "../../src/db/migration-steps.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connect, testDatabase, testPostgres } from "../support/harness.ts";
import { until } from "../support/until.ts";

const unmigrated = () => testDatabase({ migrated: false });

const step = (version: string, sql: string): Migration => ({ version, file: `${version}_step.sql`, sql });
const ONE = step("0001", "create table one (id integer); insert into one values (1);");
const TWO = step("0002", "create table two (id integer);");
const THREE = step("0003", "create table three (id integer);");

/** What migrating is refused with. */
async function refusal(...args: Parameters<typeof migrate>): Promise<StartupError> {
  const error = await migrate(...args).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(error instanceof StartupError)) throw new Error("not refused, or not with a StartupError", { cause: error });
  return error;
}

describe("the migrations of Conduit", () => {
  const folder = join(import.meta.dir, "../../migrations");

  test("are all the .sql files of their folder, in order, numbered without a gap", async () => {
    const files = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
    expect(migrations.map(({ file }) => file)).toEqual(files);
    for (const [i, { version, file, sql }] of migrations.entries()) {
      expect(version).toBe(String(i + 1).padStart(4, "0"));
      expect(file).toMatch(new RegExp(`^${version}_[a-z_]+\\.sql$`));
      expect(sql).toBe(await Bun.file(join(folder, file)).text());
    }
  });

  test("make an empty database what it has to be, once", async () => {
    const address = await unmigrated();
    expect(await migrate(address, migrations, 5_000)).toEqual(migrations.map(({ file }) => file));
    expect(await migrate(address, migrations, 5_000)).toEqual([]);
    const rows = await connect(address)`select version, file from schema_migrations order by version`;
    expect([...rows]).toEqual(migrations.map(({ version, file }) => ({ version, file })));
  });
});

describe("migrating", () => {
  test("applies what is missing, and nothing twice", async () => {
    const address = await unmigrated();
    expect(await migrate(address, [ONE], 5_000)).toEqual([ONE.file]);
    expect(await migrate(address, [ONE, TWO, THREE], 5_000)).toEqual([TWO.file, THREE.file]);
    expect((await connect(address)`select count(*)::integer as n from one`)[0].n).toBe(1);
  });

  test("by many at once applies each once, and all of them come through", async () => {
    const address = await unmigrated();
    const applied = await Promise.all(Array.from({ length: 8 }, () => migrate(address, [ONE, TWO, THREE], 5_000)));
    expect(applied.flat().sort()).toEqual([ONE.file, TWO.file, THREE.file]);
    expect((await connect(address)`select count(*)::integer as n from one`)[0].n).toBe(1);
  });

  test("that fails leaves nothing of the failed step, keeps the steps before, and goes on when it is mended", async () => {
    const address = await unmigrated();
    const broken = step("0002", "create table two (id integer); insert into two values (1); select 1/0;");
    const error = await refusal(address, [ONE, broken, THREE], 5_000);
    expect(error.message).toBe("Migration 0002_step.sql failed and was rolled back: division by zero");

    const sql = connect(address);
    const tables = async () =>
      (await sql`select tablename from pg_tables where schemaname = 'public' order by 1`).map(
        (row: { tablename: string }) => row.tablename,
      );
    expect(await tables()).toEqual(["one", "schema_migrations"]);
    expect([...(await sql`select version from schema_migrations`)]).toEqual([{ version: "0001" }]);

    expect(await migrate(address, [ONE, TWO, THREE], 5_000)).toEqual([TWO.file, THREE.file]);
    expect(await tables()).toEqual(["one", "schema_migrations", "three", "two"]);
  });

  test("refuses a migration that was edited after it was applied", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE, TWO], 5_000);
    const { message } = await refusal(address, [ONE, { ...TWO, sql: `${TWO.sql}-- edited` }, THREE], 5_000);
    expect(message).toStartWith("Migration 0002_step.sql is not what was applied to this database");
    expect(message).toContain("must not be changed or removed");
    expect(await migrate(address, [ONE, TWO], 5_000)).toEqual([]);
  });

  test("accepts files whose line ends a checkout on Windows changed, in both directions", async () => {
    const windows = migrations.map((migration) => ({ ...migration, sql: migration.sql.replaceAll("\n", "\r\n") }));
    for (const [first, second] of [
      [windows, migrations],
      [migrations, windows],
    ] as const) {
      const address = await unmigrated();
      await migrate(address, first, 5_000);
      expect(await migrate(address, second, 5_000)).toEqual([]);
      const [row] = await connect(address)`select count(*)::int as n from pg_proc where prosrc like ${"%\r%"}`;
      expect(row.n).toBe(0);
    }
  });

  test("refuses when an applied migration is missing", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE, TWO, THREE], 5_000);
    const { message } = await refusal(address, [ONE, THREE], 5_000);
    expect(message).toContain("0002_step.sql");
    expect(message).toContain("must not be changed or removed");
  });

  test("refuses a database that is newer than the program", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE, TWO, THREE], 5_000);
    const { message } = await refusal(address, [ONE, TWO], 5_000);
    expect(message).toContain("0003_step.sql");
    expect(message).toContain("it is newer");
  });

  test("reports which server it waits for, waits for a limited time, and leaves no lock behind", async () => {
    const address = await unmigrated();
    const sql = connect(address);
    const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
    const other = withMigrationLock(
      address,
      { connectTimeoutMs: 5_000, timeoutMs: 0, onProgress() {} },
      () => finished,
    );
    await untilLocked(sql, 1);

    const lines: string[] = [];
    const onProgress = (line: string) => lines.push(line);
    const { message } = await refusal(address, [ONE], 5_000, { timeoutMs: 3_000, onProgress });
    expect(message).toMatch(
      /^Another server \(.+, process \d+ of PostgreSQL, for \d+ s\) is still migrating this database after 3 s \(DATABASE_START_TIMEOUT\)/,
    );
    expect(lines).toEqual([
      expect.stringMatching(/^Another server \(.+\) is migrating this database\. Waiting at most 3 s …$/),
    ]);
    await untilLocked(sql, 1);

    const waiting = migrate(address, [ONE], 5_000, { onProgress });
    while (lines.length < 2) await Bun.sleep(10);
    finish();
    await other;
    expect(await waiting).toEqual([ONE.file]);
    await untilLocked(sql, 0);
  });

  test("does not make `create index concurrently` of another server hang while it waits", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE], 5_000);
    const lines: string[] = [];
    let waiting: Promise<string[]> | undefined;
    await withMigrationLock(address, { connectTimeoutMs: 5_000, timeoutMs: 0, onProgress() {} }, async () => {
      waiting = migrate(address, [ONE, TWO], 5_000, { onProgress: (line) => lines.push(line) });
      while (lines.length === 0) await Bun.sleep(10);
      // It waits for every snapshot that is older than its own. In a transaction that waits for a lock there is one.
      await connect(address).unsafe("set lock_timeout = '5s'; create table indexed (id integer)").simple();
      await connect(address, 1).unsafe("create index concurrently indexed_id on indexed (id)");
    });
    expect(await waiting).toEqual([TWO.file]);
  });

  test("gives way to a transaction that uses its table, and applies the step when that has ended", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE], 5_000);
    const sql = connect(address);
    const change = step("0002", "alter table one add column two integer;");
    const lines: string[] = [];
    let migrating: Promise<string[]> | undefined;
    await sql.begin(async (tx) => {
      await tx`select * from one`;
      const { message } = await refusal(address, [ONE, change], 5_000, { timeoutMs: 100 });
      expect(message).toStartWith("Migration 0002_step.sql waits for a lock on a table that another transaction uses");
      expect(message).toContain("Nothing of it was applied.");
      migrating = migrate(address, [ONE, change], 5_000, { onProgress: (line) => lines.push(line) });
      while (lines.length === 0) await Bun.sleep(10);
      // Between two attempts, others get to the table.
      await sql`insert into one values (2)`;
    });
    expect(await migrating).toEqual([change.file]);
    expect(lines).toEqual([
      "Migration 0002_step.sql waits for a lock on a table that another transaction uses. Trying again …",
    ]);
  });

  test("waits for a read-only database to become writable, and says so if it does not", async () => {
    const address = await unmigrated();
    const { admin } = await testPostgres();
    const sql = connect(admin, 1);
    await sql.unsafe(`alter database ${address.database} set default_transaction_read_only = on`);
    const { message } = await refusal(address, [ONE], 5_000, { timeoutMs: 300 });
    expect(message).toMatch(
      /^The database ".+" at .+ takes no writes: default_transaction_read_only is on\. Waited 0 s \(DATABASE_START_TIMEOUT\)\.$/,
    );
    const lines: string[] = [];
    const migrating = migrate(address, [ONE], 5_000, { onProgress: (line) => lines.push(line) });
    while (lines.length === 0) await Bun.sleep(10);
    await sql.unsafe(`alter database ${address.database} reset default_transaction_read_only`);
    expect(await migrating).toEqual([ONE.file]);
    expect(lines).toEqual([expect.stringMatching(/Waiting at most 60 s …$/)]);
  });

  test("names the missing privilege of a user who may not create tables, and needs it only for a first start", async () => {
    const address = await unmigrated();
    const { admin } = await testPostgres();
    const sql = connect({ ...admin, database: address.database }, 1);
    const role = `conduit_test_reader_${process.pid}`;
    await sql.unsafe(`create role ${role} login password 'reader'`);
    const reader = { ...address, username: role, password: "reader" };
    const { message } = await refusal(reader, [ONE], 5_000);
    expect(message).toBe(
      `The database user "${role}" may not create tables in the database "${address.database}" (permission denied for schema public). Run there as an administrator: grant create on schema public to "${role}"`,
    );
    await migrate(address, [ONE], 5_000);
    await sql.unsafe(`grant select on all tables in schema public to ${role}`);
    // Gets past its own tables, to those of the job queue.
    expect((await refusal(reader, [ONE], 5_000)).message).toContain("graphile_worker");
    await sql.unsafe(`drop owned by ${role}; drop role ${role}`).simple();
  });

  test("refuses a database that is not UTF-8", async () => {
    const { admin, address } = await testPostgres();
    const sql = connect(admin, 1);
    for (const encoding of ["LATIN1", "SQL_ASCII"]) {
      const database = `conduit_test_${encoding.toLowerCase()}_${process.pid}`;
      await sql.unsafe(
        `create database ${database} owner ${address.username} encoding '${encoding}' locale_provider 'libc' lc_collate 'C' lc_ctype 'C' template template0`,
      );
      const { message } = await refusal({ ...address, database }, [ONE], 5_000);
      await sql.unsafe(`drop database ${database} with (force)`);
      expect(message).toBe(
        `The database "${database}" has the encoding ${encoding}, which cannot store every text; Conduit needs UTF8. Create another: create database conduit encoding 'UTF8' template template0`,
      );
    }
  });

  test("changes nothing where it refuses", async () => {
    const address = await unmigrated();
    await migrate(address, [ONE], 5_000);
    await refusal(address, [{ ...ONE, sql: "select 1" }, TWO, THREE], 5_000);
    expect([...(await connect(address)`select version from schema_migrations`)]).toEqual([{ version: "0001" }]);
  });

  test("says where it looked for a database that is not there, without the password", async () => {
    const address = { ...(await unmigrated()), password: "not this one, surely" };
    const nowhere = { ...address, database: "no_such_database" };
    for (const { message } of [
      await refusal({ ...nowhere, socketPath: "/nonexistent/.s.PGSQL.5432" }, [ONE], 500),
      await refusal(
        { hostname: "127.0.0.1", port: 1, username: "u", password: address.password, database: "d", tls: "disable" },
        [ONE],
        500,
      ),
    ]) {
      expect(message).toStartWith("Cannot reach the database");
      expect(message).toContain("Check DATABASE_URL");
      expect(message).not.toContain(address.password);
    }
  });
});

/** Resolves when so many advisory locks are held in the database of `sql`. */
async function untilLocked(sql: SQL, locks: number): Promise<void> {
  await until(async () => {
    const [row] = await sql`
      select count(*)::integer as held from pg_locks
       where locktype = 'advisory' and granted
         and database = (select oid from pg_database where datname = current_database())`;
    return row.held === locks;
  });
}
