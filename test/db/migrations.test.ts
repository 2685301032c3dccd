import { describe, expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { migrations } from "../../migrations/index.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { type Migration, migrate } from "../../src/db/migrations.ts";
import { connect, testDatabase } from "../support/harness.ts";

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
