import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addressOfRunning } from "../src/index.ts";
import {
  connect,
  errorOf,
  folderWithDatabase,
  hasStarted,
  hasStartedOrFailed,
  isLinux,
  newFolder,
  postgresProcesses,
  postmasterOf,
  setUpTests,
  start,
  startApp,
  startError,
  superuserOf,
  until,
} from "./support.ts";

setUpTests();

describe("a start", () => {
  test("creates a durable UTF-8 database in an empty folder, and reports its steps", async () => {
    const folder = join(newFolder(), "deep", "data");
    const postgres = await start(folder);
    expect(postgres.progress).toEqual([
      `Creating the database in ${folder} …`,
      expect.stringMatching(/^Starting PostgreSQL 18\.\d+ …$/),
    ]);
    const [row] = await postgres.sql`
      select current_user as username, current_database() as database, rolsuper, datlocprovider, datlocale,
        pg_encoding_to_char(encoding) as encoding, current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as synchronous_commit,
        current_setting('data_checksums') as data_checksums, current_setting('listen_addresses') as listen_addresses,
        current_setting('timezone') as timezone
      from pg_database, pg_roles where datname = current_database() and rolname = current_user`;
    expect(row).toEqual({
      username: "app",
      database: "app",
      rolsuper: false,
      datlocprovider: "b",
      datlocale: "C.UTF-8",
      encoding: "UTF8",
      fsync: "on",
      full_page_writes: "on",
      synchronous_commit: "on",
      data_checksums: "on",
      listen_addresses: "",
      timezone: "UTC",
    });
  });

  test("finds the data again after a stop, which leaves no process and can be called twice", async () => {
    const folder = newFolder();
    const first = await start(folder);
    await first.sql`create table kept as select 42 as value`;
    await Promise.all([first.stop(), first.stop()]);
    await first.stop();
    expect(postgresProcesses(folder)).toEqual([]);
    const second = await start(folder);
    expect(second.progress).toEqual([expect.stringContaining("Starting PostgreSQL")]);
    expect([...(await second.sql`select value from kept`)]).toEqual([{ value: 42 }]);
    expect(readFileSync(join(folder, "postgres.log"), "utf8")).not.toContain("not properly shut down");
  });

  test("works in a folder whose path is longer than the path of a socket may be", async () => {
    const folder = join(newFolder(), "d".repeat(120), "e".repeat(120));
    const { sql } = await start(folder);
    expect([...(await sql`select 1 as one`)]).toEqual([{ one: 1 }]);
  });

  test("creates the role and the database if an earlier start was interrupted before that", async () => {
    const folder = folderWithDatabase();
    const first = await start(folder);
    const superuser = connect(first.address, superuserOf(folder));
    await first.sql.close();
    await superuser.unsafe("drop database app");
    await superuser.unsafe("drop role app");
    await superuser.close();
    await first.stop();
    const second = await start(folder);
    expect([...(await second.sql`select current_user as username`)]).toEqual([{ username: "app" }]);
  });

  test("renames a log that has grown too large", async () => {
    const folder = folderWithDatabase();
    writeFileSync(join(folder, "postgres.log"), "x".repeat(11 * 1024 * 1024));
    await start(folder);
    expect(statSync(join(folder, "postgres.log")).size).toBeLessThan(10_000);
    expect(existsSync(join(folder, "postgres.log.1"))).toBe(true);
  });
});

describe("options", () => {
  test("name the role and the database, whatever characters the names have", async () => {
    const names = { username: 'a "role"', database: "order's" };
    const { sql } = await start(folderWithDatabase(), names);
    const [row] = await sql`select current_user as username, current_database() as database`;
    expect(row).toEqual(names);
  });

  test("override the default settings, but not where PostgreSQL listens", async () => {
    const { sql } = await start(folderWithDatabase(), { settings: { work_mem: "5MB", listen_addresses: "*" } });
    expect([...(await sql`show work_mem`)]).toEqual([{ work_mem: "5MB" }]);
    expect([...(await sql`show listen_addresses`)]).toEqual([{ listen_addresses: "" }]);
  });

  test("can select TCP, on the loopback interface only, with the same password", async () => {
    const postgres = await start(folderWithDatabase(), { overTcp: true });
    expect(postgres.address.socketPath).toBeUndefined();
    expect([...(await postgres.sql`show listen_addresses`)]).toEqual([{ listen_addresses: "127.0.0.1" }]);
    expect((await errorOf(connect(postgres.address, { password: "wrong" })`select 1`)).message).toContain("password");
  });
});

describe("of two processes on one folder", () => {
  test("the second fails and names the first", async () => {
    const folder = folderWithDatabase();
    const first = startApp(folder);
    await first.until(hasStarted);
    expect(await startError(folder, "folder-in-use")).toContain(
      `${folder} is already in use by another process (number ${first.pid})`,
    );
    first.kill("SIGTERM");
    expect(await first.exited).toBe(0);
    await start(folder);
    expect(await startError(folder, "folder-in-use")).toContain(`(number ${process.pid})`);
  });

  test.each(["an empty folder", "a folder with a database"])("exactly one of three starts on %s", async (which) => {
    const folder = which === "an empty folder" ? newFolder() : folderWithDatabase();
    const rivals = [startApp(folder), startApp(folder), startApp(folder)];
    const outcomes = await Promise.all(rivals.map((rival) => rival.until(hasStartedOrFailed)));
    expect(outcomes.map(({ code }) => code ?? "started").sort()).toEqual(["folder-in-use", "folder-in-use", "started"]);
    for (const rival of rivals) rival.kill("SIGTERM");
    await Promise.all(rivals.map((rival) => rival.exited));
    await start(folder);
  });

  test("another can look up the address and connect while PostgreSQL runs", async () => {
    const folder = folderWithDatabase();
    expect(addressOfRunning({ dataDir: join(folder, "missing") })).toBeUndefined();
    expect(addressOfRunning({ dataDir: folder })).toBeUndefined();
    const app = startApp(folder);
    const { started } = await app.until(hasStarted);
    const address = addressOfRunning({ dataDir: folder });
    expect(address).toEqual(started);
    if (address === undefined) throw new Error("no address");
    expect([...(await connect(address)`select 1 as one`)]).toEqual([{ one: 1 }]);
    app.kill("SIGTERM");
    expect(await app.exited).toBe(0);
    expect(addressOfRunning({ dataDir: folder })).toBeUndefined();
  });
});

describe("a stop", () => {
  test("does not wait for a running statement", async () => {
    const { sql, stop } = await start(folderWithDatabase());
    const endless = errorOf(sql`select pg_sleep(60)`);
    for (let running = 0; running === 0; ) {
      [{ running }] = await sql`
        select count(*)::int as running from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'`;
    }
    const startedAt = performance.now();
    await stop();
    expect(performance.now() - startedAt).toBeLessThan(9_000);
    expect(await endless).toBeInstanceOf(Error);
  });

  test.skipIf(!isLinux)("by Ctrl-C reaches only the application, which can finish its requests", async () => {
    const folder = folderWithDatabase();
    const app = startApp(folder);
    await app.until(hasStarted);
    expect(processGroupOf(app.pid)).toBe(app.pid);
    expect(processGroupOf(postmasterOf(folder))).not.toBe(app.pid);
    process.kill(-app.pid, "SIGINT");
    expect((await app.until((line) => line.finished !== undefined)).finished).toEqual({ one: 1 });
    expect(await app.exited).toBe(0);
    expect(app.lines.filter((line) => line.restart)).toEqual([]);
    expect(postgresProcesses(folder)).toEqual([]);
  });

  test("by process.exit leaves no process", async () => {
    const folder = folderWithDatabase();
    expect(await startApp(folder, { mode: "exit" }).exited).toBe(0);
    await until(() => postgresProcesses(folder).length === 0);
  });
});

function processGroupOf(pid: number): number {
  // The fields after the name, which is in parentheses: state, parent, process group (proc_pid_stat(5)).
  return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[2]);
}
