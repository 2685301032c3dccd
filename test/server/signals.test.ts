import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";

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
    const folder = await dataFolder();
    await signalled(["serve"], folder, signal, 1, Math.random() * 1_500);
    await startsAgain(folder);
  });

  test.each(SIGNALS)("%s while the server starts, with one process and with two workers", async (signal) => {
    const folder = await folderWithDatabase();
    for (const workers of [1, 2]) await signalled(["serve"], folder, signal, workers, Math.random() * 700);
    await startsAgain(folder);
  });

  test.each([["seed"], ["migrate"], ["doctor"]])("SIGTERM to %s", async (command) => {
    const folder = await folderWithDatabase();
    await signalled([command], folder, "SIGTERM", 1, Math.random() * 600);
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
    await untilRunning(npm.output);
    end(npm.child.pid);
    await untilGone(folder);
    await npm.child.exited;
  });
});

test.skipIf(process.platform !== "linux")("a server under nohup survives SIGHUP, and stops on SIGTERM", async () => {
  const folder = await folderWithDatabase();
  const server = spawn(["nohup", process.execPath, "src/main.ts", "serve"], folder, 1);
  await untilRunning(server.output);
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
  expect([expected, child.signalCode ?? signal, output()]).toEqual([expect.arrayContaining([code]), signal, output()]);
  await untilGone(folder);
}

async function startsAgain(folder: string): Promise<void> {
  const { child, output } = spawn([process.execPath, "src/main.ts", "serve"], folder, 1);
  await untilRunning(output);
  kill(child.pid, "SIGTERM");
  expect(await child.exited).toBe(0);
  await untilGone(folder);
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

let template: Promise<string> | undefined;

/** A copy of a folder with a database, because creating one takes most of the time. */
async function folderWithDatabase(): Promise<string> {
  template ??= (async () => {
    const folder = await dataFolder();
    await startsAgain(folder);
    return folder;
  })();
  const folder = await dataFolder();
  Bun.spawnSync(["cp", "-a", `${await template}/.`, folder]);
  return folder;
}

async function untilRunning(output: () => string): Promise<void> {
  for (const deadline = performance.now() + 8_000; !output().includes("Server is running on"); await Bun.sleep(10)) {
    if (performance.now() > deadline) throw new Error(`the server did not start:\n${output()}`);
  }
}

async function untilGone(folder: string): Promise<void> {
  for (const deadline = performance.now() + 3_000; ; await Bun.sleep(20)) {
    const left = processesWith(folder);
    if (left.length === 0) return;
    if (performance.now() > deadline) throw new Error(`still running: ${left.map(describeProcess).join("; ")}`);
  }
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
