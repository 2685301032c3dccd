import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
  cleanUp,
  connect,
  copyPackage,
  errorOf,
  folderWithDatabase,
  hasStarted,
  hasStartedOrFailed,
  newFolder,
  nobody,
  packageRoot,
  postgresProcesses,
  setUpTests,
  start,
  startApp,
  startError,
  superuserOf,
  testAsNobody,
  testAsRoot,
  until,
} from "./support.ts";

setUpTests();

describe("other users of the machine", () => {
  test("cannot log in without the password, to any database and as any role; that of the application is not the superuser's", async () => {
    const folder = folderWithDatabase();
    const { address } = await start(folder);
    const superuser = connect(address, superuserOf(folder));
    expect([...(await superuser`select rolsuper from pg_roles where rolname = current_user`)]).toEqual([
      { rolsuper: true },
    ]);
    for (const username of ["app", "postgres"]) {
      for (const password of ["", "wrong", ...(username === "postgres" ? [address.password] : [])]) {
        const error = await errorOf(connect(address, { username, password, database: "postgres" })`select 1`);
        expect(error.message).toContain("password");
      }
    }
    expect(address.password).toMatch(/^[0-9a-f]{64}$/);
    const hba = readFileSync(join(dirname(address.socketPath ?? ""), "pg_hba.conf"), "utf8");
    const rules = hba.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
    expect(rules.filter((line) => !line.trim().endsWith("scram-sha-256"))).toEqual([]);
  });

  test("cannot read the cluster, the password or the log, or open the socket", async () => {
    const folder = folderWithDatabase();
    await start(folder);
    const mode = (name: string): number => statSync(join(folder, name)).mode & 0o777;
    expect(mode("postgres")).toBe(0o700);
    expect(mode("postgres/.s.PGSQL.5432")).toBe(0o700);
    expect(mode("postgres/postgres.password")).toBe(0o600);
    expect(mode("postgres/application.password")).toBe(0o600);
    expect(mode("postgres.log")).toBe(0o600);
    expect(statSync(join(folder, "postgres/postgres.password")).uid).toBe(process.getuid?.() ?? -1);
  });

  testAsNobody("are refused by the operating system even with the password", async () => {
    const { address } = await start(folderWithDatabase());
    const options = { adapter: "postgres", ...address, path: address.socketPath, max: 1 };
    const script = `const sql = new Bun.SQL(${JSON.stringify(options)});
      await sql\`select 1\`.then(() => console.log("logged in"), (error) => console.log(error.code)); process.exit()`;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { ...nobody, cwd: "/", env: {} });
    expect(stdout.toString()).toMatch(/^(ERR_|E)\w+\n$/);
  });
});

describe("an ordinary user", () => {
  testAsNobody("runs PostgreSQL as that user, also in a deep folder and after a crash", async () => {
    const folder = join(newFolder(nobody), "x".repeat(150));
    const app = startApp(folder, { mode: "write", account: nobody });
    await app.until((line) => (line.acknowledged ?? 0) > 10);
    expect(usersOfPostgres(folder)).toEqual(new Set([nobody.uid]));
    app.kill("SIGKILL");
    await app.exited;
    const again = startApp(folder, { account: nobody });
    expect((await again.until(hasStartedOrFailed)).error).toBeUndefined();
  });
});

describe("root", () => {
  testAsRoot(
    "runs PostgreSQL as a dedicated user, even if only root can enter the data folder and the package",
    async () => {
      const secret = newFolder();
      chmodSync(secret, 0o700);
      const from = copyPackage(join(secret, "project"));
      const folder = join(secret, "data");
      const cacheDir = join(newFolder(), "cache");
      for (let round = 0; round < 2; round++) {
        const app = startApp(folder, { mode: "write", from, cacheDir });
        const line = await app.until((line) => line.error !== undefined || line.acknowledged !== undefined);
        expect(line.error).toBeUndefined();
        const uids = [...usersOfPostgres(folder)];
        expect(uids).toEqual([expect.any(Number)]);
        expect(uids[0]).toBeGreaterThan(0);
        expect(readFileSync("/etc/passwd", "utf8")).not.toContain(`:${uids[0]}:`);
        const [server] = postgresProcesses(folder);
        expect(readFileSync(`/proc/${server}/status`, "utf8")).toMatch(/^Groups:\s*$/m);
        await cleanUp();
      }
      const copies = readdirSync(cacheDir);
      expect(copies).toEqual([expect.stringMatching(/^postgresql-18\./)]);
      const { uid, mode } = statSync(join(cacheDir, copies[0] ?? ""));
      expect(uid).toBe(0);
      expect(mode & 0o022).toBe(0);
    },
  );

  testAsNobody("runs PostgreSQL as the owner of the data folder, who can start it later without root", async () => {
    const folder = newFolder(nobody);
    const postgres = await start(folder);
    expect(usersOfPostgres(folder)).toEqual(new Set([nobody.uid]));
    await postgres.stop();
    const app = startApp(folder, { account: nobody });
    expect((await app.until(hasStartedOrFailed)).error).toBeUndefined();
  });

  testAsRoot.skipIf(Bun.which("setpriv") === null)(
    "finds an orphan even if it cannot read other users' processes, as in a container",
    async () => {
      const folder = folderWithDatabase();
      const app = startApp(folder);
      await app.until(hasStarted);
      app.kill("SIGKILL");
      await app.exited;
      const fixture = [process.execPath, join(packageRoot, "test/app.ts"), folder, "exit"];
      const container = Bun.spawnSync(["setpriv", "--bounding-set", "-sys_ptrace,-sys_admin", ...fixture], {
        cwd: "/",
        env: {},
      });
      expect(container.stdout.toString()).toContain('"started"');
      await until(() => postgresProcesses(folder).length === 0);
    },
  );

  testAsRoot("can start a cluster that belongs to root after it was restored from a backup", async () => {
    const folder = folderWithDatabase();
    const postgres = await start(folder);
    await postgres.sql`create table kept as select 42 as value`;
    await postgres.stop();
    Bun.spawnSync(["chown", "-R", "root:root", folder]);
    chmodSync(join(folder, "postgres"), 0o755);
    expect([...(await (await start(folder)).sql`select value from kept`)]).toEqual([{ value: 42 }]);
  });

  testAsRoot("does not follow a link in place of the log", async () => {
    const folder = newFolder(nobody);
    symlinkSync("/etc/passwd", join(folder, "postgres.log"));
    const before = readFileSync("/etc/passwd", "utf8");
    expect(await startError(folder, "folder-unusable")).toContain("postgres.log must be a file");
    expect(readFileSync("/etc/passwd", "utf8")).toBe(before);
  });

  testAsRoot("refuses a log, a lock and a password of a third user", async () => {
    for (const name of ["postgres.log", "postgres.lock", "postgres/application.password"]) {
      const folder = folderWithDatabase();
      const { uid } = statSync(join(folder, "postgres"));
      expect(uid).not.toBe(nobody.uid);
      writeFileSync(join(folder, name), "planted", { mode: 0o600 });
      chownSync(join(folder, name), nobody.uid, nobody.gid);
      expect(await startError(folder, "folder-unusable")).toContain(`${name} belongs to another user (number 65534`);
    }
  });
});

describe("a data folder in which another user could have planted something", () => {
  test("is refused if any user can write to it", async () => {
    const folder = newFolder();
    chmodSync(folder, 0o757);
    expect(await startError(folder, "folder-unusable")).toContain(`run: chmod o-w ${folder}`);
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each(["postgres.lock", "postgres.lock-journal"])(
    "is refused if %s is a link, which is not followed",
    async (name) => {
      const folder = newFolder();
      const target = join(newFolder(), "target");
      symlinkSync(target, join(folder, name));
      expect(await startError(folder, "folder-unusable")).toContain(`${name} is a symbolic link`);
      expect(existsSync(target)).toBe(false);
    },
  );

  test("does not follow a link in place of the number of the process that uses it", async () => {
    const folder = folderWithDatabase();
    const target = join(newFolder(), "target");
    writeFileSync(target, "mine");
    symlinkSync(target, join(folder, "postgres.lock.pid"));
    await start(folder);
    expect(readFileSync(target, "utf8")).toBe("mine");
    expect(readFileSync(join(folder, "postgres.lock.pid"), "utf8")).toBe(`${process.pid}\n`);
  });

  test("is refused if the cluster is a link", async () => {
    const folder = newFolder();
    symlinkSync(join(folderWithDatabase(), "postgres"), join(folder, "postgres"));
    expect(await startError(folder, "folder-unusable")).toContain("postgres is a symbolic link");
  });

  test.each(["postgres/application.password", "postgres.lock"])(
    "is refused if other users can use %s",
    async (name) => {
      const folder = folderWithDatabase();
      chmodSync(join(folder, name), 0o640);
      expect(await startError(folder, "folder-unusable")).toContain(`Other users can access ${join(folder, name)}`);
    },
  );
});

function usersOfPostgres(folder: string): Set<number> {
  // A process may have ended since it was listed.
  const uids = postgresProcesses(folder).map((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid);
  return new Set(uids.filter((uid) => uid !== undefined));
}
