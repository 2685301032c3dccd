import { closeSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Account } from "./account.ts";
import { type PostgresAddress, socketName } from "./address.ts";
import type { Binaries } from "./binaries.ts";
import { diskFullError, EmbeddedPostgresError } from "./errors.ts";
import type { DataFolder } from "./folder.ts";
import { logPathIn, logSince, openLog, rotateLog } from "./log.ts";
import {
  clusterMark,
  explainingLine,
  isAlive,
  processesOf,
  programEnvironment,
  programError,
  readPostmasterFile,
  signalIfAlive,
} from "./process.ts";
import { type PostgresSettings, settingArguments } from "./settings.ts";

/** Everything that is needed to start the server of a cluster, any number of times. */
export type ServerPlan = {
  readonly binaries: Binaries;
  readonly folder: DataFolder;
  readonly clusterPath: string;
  readonly address: PostgresAddress;
  readonly settings: PostgresSettings;
  /** Runs the server; undefined for the current user. */
  readonly account: Account | undefined;
};

/** A running postmaster, a child of this process. */
export type Server = {
  readonly pid: number;
  /** Resolves when the server has ended, with the cause: "SIGKILL", "exit code 1". Never rejects. */
  readonly ended: Promise<string>;
  /** Fast shutdown. After `fastShutdownMs`, an immediate one, which loses no data but makes the next start recover. */
  stop(): Promise<void>;
};

const fastShutdownMs = 10_000;
const immediateShutdownMs = 6_000;
/** How long the children of a killed postmaster may take to release the shared memory. */
const leftoversTimeoutMs = 15_000;
/** Recovery replays at most a little more than `max_wal_size`. */
const recoveryTimeoutMs = 600_000;

/**
 * Starts the server and waits until it accepts connections. Stops what is left of an earlier server first, and ignores a
 * stale postmaster.pid.
 * @param signal stops the server and rejects
 * @throws EmbeddedPostgresError with PostgreSQL's reason if it does not start.
 */
export async function startServer(
  plan: ServerPlan,
  onProgress: (message: string) => void,
  signal?: AbortSignal,
): Promise<Server> {
  const deadline = performance.now() + leftoversTimeoutMs;
  for (;;) {
    await stopLeftovers(plan);
    const logStart = rotateLog(plan.folder);
    const server = spawnServer(plan);
    const failure = await untilReady(plan, server, onProgress, signal);
    if (failure === undefined) return server;
    const log = logSince(plan.folder, logStart);
    const isBlocked = /pre-existing shared memory block|lock file .* already exists|is still in use/.test(log);
    if (isBlocked && performance.now() < deadline && !signal?.aborted) {
      await Bun.sleep(100);
      continue;
    }
    if (log.includes("No space left on device")) throw diskFullError(plan.folder.name);
    throw new EmbeddedPostgresError(
      "not-started",
      `PostgreSQL ${plan.binaries.version} did not start (${failure}): ${explainingLine(log) || "it logged no reason"}. ` +
        `Its log is ${logPathIn(plan.folder)}.`,
    );
  }
}

/** This process holds the lock of the data folder, so any other server in it has lost its application. */
async function stopLeftovers(plan: ServerPlan): Promise<void> {
  if (process.platform === "win32") return stopOnWindows(plan);
  const postmaster = readPostmasterFile(plan.clusterPath);
  if (postmaster && processesOf(plan.clusterPath).includes(postmaster.pid)) {
    await stopProcess(postmaster.pid, () => processesOf(plan.clusterPath).includes(postmaster.pid));
  }
  // Children that outlived their postmaster. One that is busy computing would not notice for a long time.
  for (const signal of ["SIGQUIT", "SIGKILL"] as const) {
    const orphans = processesOf(plan.clusterPath);
    if (orphans.length === 0) break;
    for (const pid of orphans) signalIfAlive(pid, signal);
    await until(() => processesOf(plan.clusterPath).length === 0, 1_000);
  }
  // PostgreSQL judges postmaster.pid itself. The lock of the socket adds nothing to that, but its process id may meanwhile
  // belong to another program, and PostgreSQL would refuse to start.
  rmSync(join(plan.clusterPath, `${socketName}.lock`), { force: true });
}

function stopOnWindows(plan: ServerPlan): void {
  Bun.spawnSync([plan.binaries.pgCtl, "stop", "-D", plan.clusterPath, "-m", "fast", "-w"], {
    env: programEnvironment(),
  });
}

function spawnServer(plan: ServerPlan): Server {
  const log = openLog(plan.folder);
  let child: ReturnType<typeof spawnPostmaster>;
  try {
    child = spawnPostmaster(plan, log);
  } catch (error) {
    throw programError(error, plan.binaries.postgres);
  } finally {
    closeSync(log);
  }
  // PostgreSQL alone must not keep this process alive.
  child.unref();
  const stopAtExit = (): void => stopSynchronously(child.pid, plan.clusterPath);
  process.on("exit", stopAtExit);
  const ended = child.exited.then((code) => {
    process.off("exit", stopAtExit);
    return String(child.signalCode ?? `exit code ${code}`);
  });
  return {
    pid: child.pid,
    ended,
    stop: async () => {
      if (process.platform === "win32") stopOnWindows(plan);
      child.ref();
      await stopProcess(child.pid, () => child.exitCode === null && child.signalCode === null);
    },
  };
}

function spawnPostmaster(plan: ServerPlan, log: number) {
  const stale = readPostmasterFile(plan.clusterPath);
  return Bun.spawn(
    [
      plan.binaries.postgres,
      "-D",
      plan.account ? "/proc/self/cwd" : plan.clusterPath,
      ...settingArguments(plan.address, clusterMark(plan.clusterPath), plan.settings),
    ],
    {
      // Bun enters this folder before it changes the user, so it can be in a folder that only root can enter. The link
      // /proc/self/cwd lets the postmaster name it without a path.
      cwd: plan.clusterPath,
      env: {
        ...programEnvironment(),
        // PostgreSQL takes any running process with the id in postmaster.pid for another postmaster, except its grandparent
        // (src/backend/utils/init/miscinit.c, CreateLockFile). `stopLeftovers` has made sure that it is not a postmaster,
        // and PostgreSQL still checks the shared memory.
        ...(stale && isAlive(stale.pid) ? { PG_GRANDPARENT_PID: String(stale.pid) } : {}),
      },
      // A session of its own: Ctrl-C in the terminal must not stop PostgreSQL before the application has finished.
      detached: true,
      stdio: ["ignore", log, log],
      ...plan.account,
    },
  );
}

/** @returns undefined once the server accepts connections, otherwise the reason why it does not */
async function untilReady(
  plan: ServerPlan,
  server: Server,
  onProgress: (message: string) => void,
  signal?: AbortSignal,
): Promise<string | undefined> {
  let end: string | undefined;
  void server.ended.then((cause) => {
    end = cause;
  });
  const startedAt = performance.now();
  let nextReportMs = 3_000;
  for (;;) {
    // Reads the file instead of connecting: a recovering server would log each refused connection.
    const postmaster = readPostmasterFile(plan.clusterPath);
    if (end !== undefined) return end;
    if (postmaster?.pid === server.pid && postmaster.isReady) return undefined;
    const elapsedMs = performance.now() - startedAt;
    if (signal?.aborted || elapsedMs > recoveryTimeoutMs) {
      await server.stop();
      return signal?.aborted ? "stopped" : `not ready after ${recoveryTimeoutMs / 1000} s`;
    }
    if (elapsedMs > nextReportMs) {
      onProgress(
        `PostgreSQL is still starting after ${Math.round(elapsedMs / 1000)} s (it may be recovering from a crash) …`,
      );
      nextReportMs *= 2;
    }
    await Bun.sleep(elapsedMs < 1_000 ? 4 : 50);
  }
}

async function stopProcess(pid: number, isRunning: () => boolean): Promise<void> {
  const steps = [
    ["SIGINT", fastShutdownMs],
    ["SIGQUIT", immediateShutdownMs],
    ["SIGKILL", 2_000],
  ] as const;
  for (const [signal, timeoutMs] of steps) {
    if (!isRunning()) return;
    signalIfAlive(pid, signal);
    await until(() => !isRunning(), timeoutMs);
  }
}

/**
 * Stops the server in a handler of `exit`, where nothing asynchronous runs. An application that exits has no more time than
 * a supervisor gives it, hence the short timeouts.
 */
function stopSynchronously(pid: number, clusterPath: string): void {
  for (const [signal, timeoutMs] of [
    ["SIGINT", 4_000],
    ["SIGQUIT", 1_000],
    ["SIGKILL", 0],
  ] as const) {
    signalIfAlive(pid, signal);
    const deadline = performance.now() + timeoutMs;
    while (performance.now() < deadline) {
      Bun.sleepSync(10);
      if (processesOf(clusterPath).length === 0) return;
    }
  }
}

async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition() && performance.now() < deadline) await Bun.sleep(5);
}
