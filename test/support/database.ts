import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "@conduit/embedded-postgres";
import { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { loadConfig } from "../../src/config/settings.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connectionOptions } from "../../src/db/pool.ts";

/** A PostgreSQL for tests. `admin` may create databases; the program itself uses `address`. */
export type TestPostgres = {
  readonly address: DatabaseAddress;
  readonly admin: DatabaseAddress;
  /** A migrated database, which new databases copy. The names of all databases of the run begin with this one. */
  readonly template: string;
};

/** A started PostgreSQL. `stop` removes everything that the run created. */
export type StartedPostgres = TestPostgres & { stop(): Promise<void> };

/** How `npm test` passes its PostgreSQL to the processes that run the tests. */
export const POSTGRES_VARIABLE = "TEST_POSTGRES";

/**
 * Starts the PostgreSQL of a run, with a migrated template database: the embedded one in a temporary folder, or that of
 * TEST_DATABASE_URL.
 */
export async function startPostgres(): Promise<StartedPostgres> {
  const template = `conduit_test_${process.pid}`;
  const { address, admin, stop } = process.env.TEST_DATABASE_URL
    ? external(process.env.TEST_DATABASE_URL, template)
    : await embedded();
  try {
    await dropDatabases(admin, template);
    await run(admin, `create database ${template} owner ${address.username}`);
    await migrate({ ...address, database: template }, migrations, 5_000);
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, admin, template, stop };
}

function external(url: string, template: string): Omit<StartedPostgres, "template"> {
  const address = loadConfig({ DATABASE_URL: url }).databaseUrl;
  if (address === undefined) throw new Error("TEST_DATABASE_URL is empty");
  return { address, admin: address, stop: () => dropDatabases(address, template) };
}

async function embedded(): Promise<Omit<StartedPostgres, "template">> {
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-test-"));
  // If the run is interrupted, PostgreSQL stops by its own hook, and has some files to remove meanwhile.
  process.once("exit", () => rmSync(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));
  const server = await startEmbeddedPostgres({
    dataDir,
    username: "conduit",
    database: "conduit",
    cacheDir: "/var/cache/conduit",
    // The data does not outlive the run. Tests about durability start servers of their own.
    settings: {
      fsync: "off",
      synchronous_commit: "off",
      full_page_writes: "off",
      wal_level: "minimal",
      max_wal_senders: 0,
    },
  });
  return {
    address: server.address,
    admin: { ...server.address, username: "postgres", password: await superuserPassword(dataDir) },
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** The password of the superuser of an embedded PostgreSQL. */
export const superuserPassword = async (dataDir: string): Promise<string> =>
  (await Bun.file(join(dataDir, "postgres/postgres.password")).text()).trim();

async function dropDatabases(admin: DatabaseAddress, prefix: string): Promise<void> {
  const sql = new SQL(connectionOptions(admin, 1, {}));
  const rows: { datname: string }[] = await sql`select datname from pg_database where starts_with(datname, ${prefix})`;
  for (const { datname } of rows) await sql.unsafe(`drop database if exists ${datname} with (force)`);
  await sql.close();
}

let postgres: Promise<TestPostgres> | undefined;
let owned: StartedPostgres | undefined;
let databases = 0;
let open: { file: string; close: () => Promise<void> }[] = [];

/** The PostgreSQL of this run. `npm test` has started one; otherwise this function does, when it is first called. */
export function testPostgres(): Promise<TestPostgres> {
  const started = process.env[POSTGRES_VARIABLE];
  postgres ??= started === undefined ? startOwn() : Promise.resolve(JSON.parse(started) as TestPostgres);
  return postgres;
}

async function startOwn(): Promise<TestPostgres> {
  owned = await startPostgres();
  return owned;
}

/** A new database, migrated unless `migrated` is false. It is removed with the run, because dropping one takes long. */
export async function testDatabase({ migrated } = { migrated: true }): Promise<DatabaseAddress> {
  const { address, admin, template } = await testPostgres();
  await closeWhere((file) => file !== Bun.main);
  const database = `${template}_${process.pid}_${++databases}`;
  await run(admin, `create database ${database} owner ${address.username}${migrated ? ` template ${template}` : ""}`);
  return { ...address, database };
}

async function run(address: DatabaseAddress, statement: string): Promise<void> {
  const sql = new SQL(connectionOptions(address, 1, {}));
  await sql.unsafe(statement).simple();
  await sql.close();
}

/** A connection to inspect tables, or to break them. Closed with the run. */
export function connect(address: DatabaseAddress, max = 2): SQL {
  const sql = new SQL(connectionOptions(address, max, {}));
  closeAtEnd(() => sql.close({ timeout: 0 }));
  return sql;
}

/** Closes something at the end of the run, or when the next test file opens something, as connections are few. */
export function closeAtEnd(close: () => Promise<void>): void {
  // Last opened, first closed. In `bun test`, Bun.main is the test file.
  open.unshift({ file: Bun.main, close });
}

async function closeWhere(toClose: (file: string) => boolean): Promise<void> {
  const closing = open.filter(({ file }) => toClose(file));
  open = open.filter(({ file }) => !toClose(file));
  for (const { close } of closing) await close();
}

/** Stops every server of this process, and the PostgreSQL if this process has started it. */
export async function stopHarness(): Promise<void> {
  await closeWhere(() => true);
  // One that failed to start has stopped itself.
  await postgres?.catch(() => undefined);
  await owned?.stop();
  owned = postgres = undefined;
}
