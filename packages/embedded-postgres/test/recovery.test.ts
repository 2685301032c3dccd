import { describe, expect, test } from "bun:test";
import { chownSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type App,
  connect,
  folderWithDatabase,
  hasStarted,
  isLinux,
  isRoot,
  killIfAlive,
  newFolder,
  onCleanUp,
  postgresProcesses,
  postmasterOf,
  setUpTests,
  start,
  startApp,
  startError,
  until,
} from "./support.ts";

setUpTests();

describe("no acknowledged write is lost", () => {
  const kills: Record<string, (app: App, folder: string) => void> = {
    "the application": (app) => app.kill("SIGKILL"),
    "the application and every process of PostgreSQL": (app, folder) => {
      app.kill("SIGKILL");
      for (const pid of postgresProcesses(folder)) killIfAlive(pid);
    },
    "the postmaster and then the application": (app, folder) => {
      process.kill(postmasterOf(folder), "SIGKILL");
      app.kill("SIGKILL");
    },
  };
  test.each(Object.keys(kills))("when %s is killed while it writes, twice in a row", async (victim) => {
    const folder = folderWithDatabase();
    const acknowledged: number[] = [];
    for (let round = 0; round < 2; round++) {
      const app = startApp(folder, { mode: "write" });
      const goal = (acknowledged.at(-1) ?? 0) + 100;
      await app.until((line) => (line.acknowledged ?? 0) >= goal);
      kills[victim]?.(app, folder);
      await app.exited;
      acknowledged.push(...acknowledgedBy(app));
    }
    expect(acknowledged.length).toBeGreaterThan(100);
    expect(await missingRows(folder, acknowledged)).toEqual([]);
  });

  test("when only PostgreSQL is killed: it restarts at the same address, and the application continues to write", async () => {
    const folder = folderWithDatabase();
    const app = startApp(folder, { mode: "write" });
    await app.until((line) => (line.acknowledged ?? 0) >= 100);
    const killed = postmasterOf(folder);
    process.kill(killed, "SIGKILL");
    await app.until((line) => line.restart?.includes("running again") ?? false);
    const goal = (acknowledgedBy(app).at(-1) ?? 0) + 100;
    await app.until((line) => (line.acknowledged ?? 0) >= goal);
    expect(postmasterOf(folder)).not.toBe(killed);
    expect(app.lines.find((line) => line.restart)?.restart).toContain("SIGKILL");
    // The application still holds the lock.
    await startError(folder, "folder-in-use");
    app.kill("SIGTERM");
    expect(await app.exited).toBe(0);
    expect(await missingRows(folder, acknowledgedBy(app))).toEqual([]);
  });

  test("when PostgreSQL is killed three times", async () => {
    const folder = folderWithDatabase();
    const postgres = await start(folder);
    for (let round = 1; round <= 3; round++) {
      for (const pid of postgresProcesses(folder)) killIfAlive(pid);
      await until(() => postgres.restarts.filter((message) => message.includes("running again")).length === round);
      expect([...(await connect(postgres.address)`select 1 as one`)]).toEqual([{ one: 1 }]);
    }
  });
});

function acknowledgedBy(app: App): number[] {
  return app.lines.flatMap((line) => line.acknowledged ?? []);
}

async function missingRows(folder: string, acknowledged: number[]): Promise<number[]> {
  const { sql } = await start(folder);
  const rows: { id: number }[] = await sql`select id::int as id from acknowledged`;
  const ids = new Set(rows.map(({ id }) => id));
  return acknowledged.filter((id) => !ids.has(id));
}

describe("a first start that is killed", () => {
  const unfinished = (folder: string): string | undefined =>
    readdirSync(folder).find((name) => name.startsWith("postgres.new-"));
  const moments: Record<string, (folder: string) => boolean> = {
    "before initdb": (folder) => existsSync(join(folder, "postgres.lock.pid")),
    "when initdb begins": (folder) => unfinished(folder) !== undefined,
    "in the middle of initdb": (folder) =>
      existsSync(join(folder, unfinished(folder) ?? "", "cluster/global/pg_control")),
    "when the cluster is complete": (folder) => existsSync(join(folder, "postgres/PG_VERSION")),
    "when the application's password exists": (folder) => existsSync(join(folder, "postgres/application.password")),
    "while PostgreSQL starts": (folder) => existsSync(join(folder, "postgres/postmaster.pid")),
  };
  test.each(Object.keys(moments))("%s leaves nothing behind, and the next start succeeds", async (moment) => {
    const folder = newFolder();
    const app = startApp(folder);
    await until(() => moments[moment]?.(folder) ?? false);
    app.kill("SIGKILL");
    const { sql } = await start(folder);
    expect([...(await sql`select 1 as one`)]).toEqual([{ one: 1 }]);
    expect(unfinished(folder)).toBeUndefined();
  });
});

describe("a PostgreSQL that outlived its application", () => {
  test("is stopped and replaced", async () => {
    const folder = folderWithDatabase();
    const app = startApp(folder);
    await app.until(hasStarted);
    const orphan = postmasterOf(folder);
    app.kill("SIGKILL");
    await app.exited;
    expect(postgresProcesses(folder)).toContain(orphan);
    await start(folder);
    expect(postgresProcesses(folder)).not.toContain(orphan);
  });

  test.skipIf(!isLinux)("is not confused with another program that has its process id now", async () => {
    const folder = folderWithDatabase();
    const cluster = join(folder, "postgres");
    const { uid, gid } = statSync(cluster);
    const innocent = Bun.spawn(["sleep", "60"], isRoot ? { uid, gid } : {});
    onCleanUp(() => innocent.kill("SIGKILL"));
    for (const name of ["postmaster.pid", ".s.PGSQL.5432.lock"]) {
      const content = `${innocent.pid}\n${cluster}\n1700000000\n5432\n.\n\n  123456    654321\nready   \n`;
      writeFileSync(join(cluster, name), content, { mode: 0o600 });
      chownSync(join(cluster, name), uid, gid);
    }
    writeFileSync(join(cluster, ".s.PGSQL.5432"), "");
    await start(folder);
    expect(innocent.exitCode).toBeNull();
    expect(innocent.signalCode).toBeNull();
  });
});
