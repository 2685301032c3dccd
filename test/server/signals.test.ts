import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { until } from "../support/until.ts";

// Each starts several servers, one after the other.
setDefaultTimeout(240_000);

const root = dirname(dirname(import.meta.dir));
const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) {
    for (const pid of processesWith(folder)) kill(pid, "SIGKILL");
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
});

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
type Signal = (typeof SIGNALS)[number];

// Linux: looks through /proc.
describe.skipIf(process.platform !== "linux")("at any moment of the start, leaves no process behind", () => {
  test.each(SIGNALS)("%s while the database is created", async (signal) => {
    const { creationMs } = await startTimes();
    const folder = await dataFolder();
    await signalled(["serve"], folder, signal, 1, Math.random() * creationMs);
    await startsAgain(folder);
  });

  test.each(SIGNALS)("%s while the server starts, with one process and with two workers", async (signal) => {
    const { startMs } = await startTimes();
    const folder = await folderWithDatabase();
    // Two workers take longer.
    for (const workers of [1, 2])
      await signalled(["serve"], folder, signal, workers, Math.random() * startMs * workers);
    await startsAgain(folder);
  });

  test.each([["seed"], ["migrate"], ["doctor"]])("SIGTERM to %s", async (command) => {
    const { startMs } = await startTimes();
    const folder = await folderWithDatabase();
    await signalled([command], folder, "SIGTERM", 1, Math.random() * startMs);
    await startsAgain(folder);
  });
});

describe.skipIf(process.platform !== "linux")("the end of npm start", () => {
  test.each<[string, (npm: number) => void]>([
    ["SIGHUP to all its processes, as when the terminal closes", (npm) => kill(-npm, "SIGHUP")],
    ["SIGHUP to npm alone", (npm) => kill(npm, "SIGHUP")],
    ["SIGKILL to npm", (npm) => kill(npm, "SIGKILL")],
    ["SIGKILL to the shell of npm", (npm) => kill(childOf(npm), "SIGKILL")],
  ])("by %s leaves no process behind", async (_how, end) => {
    const folder = await folderWithDatabase();
    const npm = spawn(["npm", "start"], folder, 1);
    await untilRunning(npm);
    end(npm.child.pid);
    await untilGone(folder);
    await npm.child.exited;
  });
});

test.skipIf(process.platform !== "linux")("a server under nohup survives SIGHUP, and stops on SIGTERM", async () => {
  const folder = await folderWithDatabase();
  const server = spawn(["nohup", process.execPath, "src/main.ts", "serve"], folder, 1);
  await untilRunning(server);
  kill(server.child.pid, "SIGHUP");
  const [, url = ""] = /running on (http:\S+?)"/.exec(server.output()) ?? [];
  for (let i = 0; i < 5; i++) expect((await fetch(`${url}/health/ready`)).status).toBe(200);
  kill(server.child.pid, "SIGTERM");
  expect(await server.child.exited).toBe(0);
  await untilGone(folder);
});

/** Sends a signal that long after the start, and expects the end of every process. */
async function signalled(args: string[], folder: string, signal: Signal, workers: number, delayMs: number) {
  const { child, output } = spawn([process.execPath, "src/main.ts", ...args], folder, workers);
  await Promise.race([Bun.sleep(delayMs), child.exited]);
  kill(child.pid, signal);
  const code = await child.exited;
  // 0: it was running, or has finished. 128+n: it was starting. By the signal: it was not even loaded.
  const expected = child.signalCode === null ? [0, 128 + constants.signals[signal]] : [code];
  const moment = `${delayMs} ms after the start:\n${output()}`;
  expect([expected, child.signalCode ?? signal, moment]).toEqual([expect.arrayContaining([code]), signal, moment]);
  await untilGone(folder);
}

/** Starts a server, and stops it. Returns how long the start took, in ms. */
async function startsAgain(folder: string): Promise<number> {
  const startedAt = performance.now();
  const server = spawn([process.execPath, "src/main.ts", "serve"], folder, 1);
  await untilRunning(server);
  const startMs = performance.now() - startedAt;
  kill(server.child.pid, "SIGTERM");
  expect(await server.child.exited).toBe(0);
  await untilGone(folder);
  return startMs;
}

function spawn(command: string[], folder: string, workers: number) {
  const child = Bun.spawn(command, {
    cwd: root,
    env: {
      PATH: process.env.PATH ?? "",
      DATA_DIR: folder,
      HOST: "127.0.0.1",
      PORT: "0",
      WORKERS: String(workers),
      LOG_FORMAT: "json",
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    // A process group of its own, as in a terminal.
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    void (async () => {
      for await (const chunk of stream.pipeThrough(new TextDecoderStream())) output += chunk;
    })();
  }
  return { child, output: () => output };
}

async function dataFolder(): Promise<string> {
  const folder = realpathSync(await mkdtemp(join(tmpdir(), "conduit-signals-")));
  folders.push(folder);
  return folder;
}

type Template = { folder: string; creationMs: number; startMs: number };
let template: Promise<Template> | undefined;

/** A folder with a database. How long the first start takes here, which creates the database, and every other one. */
function startTimes(): Promise<Template> {
  template ??= (async () => {
    const folder = await dataFolder();
    return { folder, creationMs: await startsAgain(folder), startMs: await startsAgain(folder) };
  })();
  return template;
}

/** A copy of that folder, because creating a database takes most of the time. */
async function folderWithDatabase(): Promise<string> {
  const folder = await dataFolder();
  Bun.spawnSync(["cp", "-a", `${(await startTimes()).folder}/.`, folder]);
  return folder;
}

async function untilRunning({ child, output }: ReturnType<typeof spawn>): Promise<void> {
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  await until(() => hasEnded() || output().includes("Server is running on"), output);
  expect(output()).toContain("Server is running on");
}

/** At once, but the kernel may take a moment to remove what was killed. */
async function untilGone(folder: string): Promise<void> {
  await until(
    () => processesWith(folder).length === 0,
    () => `no process is left of ${processesWith(folder).map(describeProcess).join("; ")}`,
  );
}

/** Those that have the folder in their environment or work in it: the server, its workers, npm, PostgreSQL. */
function processesWith(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) return false;
        const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
        return (
          environment.includes(`DATA_DIR=${folder}`) || `${realpathSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`)
        );
      } catch {
        return false;
      }
    });
}

function describeProcess(pid: number): string {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 100)}`;
  } catch {
    return String(pid);
  }
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
