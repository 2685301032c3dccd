import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import type { DatabaseAddress } from "../../../src/config/database-address.ts";
import { StartupError } from "../../../src/config/startup-error.ts";
import type { Account } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { type DataFolder, diskFull, errorCode, folderFault } from "./folder.ts";
import {
  clusterMark,
  isAlive,
  lastTelling,
  programEnvironment,
  programFault,
  programsIn,
  readPostmasterFile,
} from "./process.ts";

/** All that is needed to start the server of one cluster, again and again. */
export type ServerPlan = {
  readonly binaries: Binaries;
  readonly folder: DataFolder;
  readonly clusterPath: string;
  readonly address: DatabaseAddress;
  /** Who runs it, if not ourselves. */
  readonly account: Account | undefined;
};

/** A running postmaster, our child. */
export type Server = {
  readonly pid: number;
  /** Resolves when it has ended, with how: "SIGKILL", "exit code 1". Never rejects. */
  readonly ended: Promise<string>;
  /** Fast shutdown; after `fastShutdownMs` an immediate one, which loses nothing but makes the next start recover. */
  stop(): Promise<void>;
};

const fastShutdownMs = 10_000;
const immediateShutdownMs = 6_000;
/** How long the children of a killed postmaster may take to leave the shared memory. */
const remainsTimeoutMs = 15_000;
/** Recovery replays at most `max_wal_size` or a little more. */
const recoveryTimeoutMs = 600_000;
const logSizeMax = 10 * 1024 * 1024;

/** File of the server's messages, in the data folder. */
export function logPathIn(folder: DataFolder): string {
  return join(folder.path, "postgres.log");
}

/**
 * Starts the server and waits until it takes connections.
 * What is left of an earlier one is settled first: an orphan is stopped, a stale postmaster.pid is passed over.
 * @param signal gives up, and stops what was started
 * @throws StartupError with PostgreSQL's own reason when it does not start.
 */
export async function startServer(
  plan: ServerPlan,
  onProgress: (message: string) => void,
  signal: AbortSignal,
): Promise<Server> {
  const deadline = performance.now() + remainsTimeoutMs;
  for (;;) {
    await settleRemains(plan);
    const logStart = rotateLog(plan);
    const server = spawnServer(plan);
    const failure = await untilReady(plan, server, onProgress, signal);
    if (failure === undefined) return server;
    const log = logSince(plan, logStart);
    const isInTheWay = /pre-existing shared memory block|lock file .* already exists|is still in use/.test(log);
    if (isInTheWay && performance.now() < deadline && !signal.aborted) {
      await Bun.sleep(100);
      continue;
    }
    if (log.includes("No space left on device")) throw diskFull(plan.folder.name);
    throw new StartupError(
      `PostgreSQL ${plan.binaries.version} did not start (${failure}): ${lastTelling(log) || "it said nothing"}. ` +
        `Its log is ${logPathIn(plan.folder)}.`,
    );
  }
}

/** We hold the lock of the data folder, so a server that is alive in it has lost its app. */
async function settleRemains(plan: ServerPlan): Promise<void> {
  if (process.platform === "win32") {
    Bun.spawnSync([plan.binaries.pgCtl, "stop", "-D", plan.clusterPath, "-m", "fast", "-w"], {
      env: programEnvironment(),
    });
    return;
  }
  const postmaster = readPostmasterFile(plan.clusterPath);
  if (postmaster && programsIn(plan.clusterPath).includes(postmaster.pid)) {
    await endProcess(postmaster.pid, () => programsIn(plan.clusterPath).includes(postmaster.pid));
  }
  // Children that outlived their postmaster have no more use; one that computes would not notice for long.
  for (const [send, patienceMs] of [
    ["SIGQUIT", 1_000],
    ["SIGKILL", 1_000],
  ] as const) {
    for (const pid of programsIn(plan.clusterPath)) signalIfAlive(pid, send);
    await until(() => programsIn(plan.clusterPath).length === 0, patienceMs);
  }
  // Next to postmaster.pid, which PostgreSQL judges itself, the socket's own lock says nothing more; but it could name
  // a process that is now somebody else's.
  rmSync(join(plan.clusterPath, ".s.PGSQL.5432.lock"), { force: true });
}

/** @returns the size of the log now, from where the next server goes on */
function rotateLog(plan: ServerPlan): number {
  const path = logPathIn(plan.folder);
  const size = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= logSizeMax) return size;
  renameSync(path, `${path}.1`);
  return 0;
}

/** Empties the log of a running server when it has grown too large. To be called now and then. */
export function keepLogSmall(folder: DataFolder): void {
  let log: number | undefined;
  try {
    log = openLog(folder);
    // PostgreSQL has it open for appending, so it goes on at the new end.
    if (fstatSync(log).size > logSizeMax) ftruncateSync(log);
  } catch {
    // A log that grows is no reason to end the app.
  } finally {
    if (log !== undefined) closeSync(log);
  }
}

function spawnServer(plan: ServerPlan): Server {
  const log = openLog(plan.folder);
  let child: ReturnType<typeof spawnPostmaster>;
  try {
    child = spawnPostmaster(plan, log);
  } catch (error) {
    throw programFault(error, plan.binaries.postgres);
  } finally {
    closeSync(log);
  }
  // It must not keep a process alive that has nothing else to do.
  child.unref();
  const endWithUs = (): void => signalIfAlive(child.pid, "SIGINT");
  process.on("exit", endWithUs);
  const ended = child.exited.then((code) => {
    process.off("exit", endWithUs);
    return String(child.signalCode ?? `exit code ${code}`);
  });
  return {
    pid: child.pid,
    ended,
    stop: async () => {
      if (process.platform === "win32") {
        Bun.spawnSync([plan.binaries.pgCtl, "stop", "-D", plan.clusterPath, "-m", "fast", "-w"], {
          env: programEnvironment(),
        });
      }
      child.ref();
      await endProcess(child.pid, () => child.exitCode === null && child.signalCode === null);
    },
  };
}

/**
 * Opened by us, so that the server's user needs no way to it. Root may be working in another user's folder, and must
 * not be led to a file elsewhere by a link.
 */
function openLog(folder: DataFolder): number {
  const { O_APPEND, O_CREAT, O_WRONLY, O_NOFOLLOW = 0 } = constants;
  const path = logPathIn(folder);
  try {
    const log = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    if (process.getuid?.() === 0 && fstatSync(log).nlink === 1) fchownSync(log, folder.owner.uid, folder.owner.gid);
    return log;
  } catch (error) {
    if (errorCode(error) === "ELOOP") throw new StartupError(`${path} must be a file, not a link. Remove it.`);
    throw folderFault(error, folder.name);
  }
}

function spawnPostmaster(plan: ServerPlan, log: number) {
  const stale = readPostmasterFile(plan.clusterPath);
  return Bun.spawn(
    [
      plan.binaries.postgres,
      "-D",
      plan.account ? "/proc/self/cwd" : plan.clusterPath,
      ...settings(plan.address, clusterMark(plan.clusterPath)),
    ],
    {
      // Bun enters it before it changes the user, and so gets into a folder behind one that only root may enter. The
      // link /proc/self/cwd lets the postmaster name it without a path.
      cwd: plan.clusterPath,
      env: {
        ...programEnvironment(),
        // PostgreSQL takes a live process of the number in postmaster.pid for another postmaster, unless it is told that
        // this is its grandparent (src/backend/utils/init/miscinit.c, CreateLockFile). We have made sure that it is no
        // postmaster, and the check of the shared memory remains.
        ...(stale && isAlive(stale.pid) ? { PG_GRANDPARENT_PID: String(stale.pid) } : {}),
      },
      // A session of its own: Ctrl-C in the terminal must not reach it before the app has finished its requests.
      detached: true,
      stdio: ["ignore", log, log],
      ...plan.account,
    },
  );
}

/** Given on the command line, so that a new Conduit brings new settings and nothing in the folder overrides them. */
function settings(address: DatabaseAddress, mark: string): string[] {
  const megabyte = 1024 * 1024;
  const memory = Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem()) / megabyte;
  const values: Record<string, string | number> = {
    cluster_name: mark,
    port: address.port,
    listen_addresses: address.socketPath === undefined ? address.hostname : "",
    // Relative to the cluster folder, which only its owner may enter: no limit on the length of the path, and no
    // permission needed on the folders above.
    unix_socket_directories: address.socketPath === undefined ? "" : ".",
    unix_socket_permissions: "0700",
    // Nothing that was acknowledged is lost, whatever dies.
    fsync: "on",
    synchronous_commit: "on",
    full_page_writes: "on",
    restart_after_crash: "on",
    max_connections: 100,
    shared_buffers: `${Math.round(Math.min(Math.max(memory / 8, 128), 512))}MB`,
    effective_cache_size: `${Math.round(Math.min(Math.max(memory / 2, 256), 4096))}MB`,
    // System V segments have no limit on Linux, where a container's /dev/shm ends at 64 MB; elsewhere the default is better.
    shared_memory_type: process.platform === "win32" ? "windows" : "mmap",
    ...(process.platform === "linux" ? { dynamic_shared_memory_type: "sysv" } : {}),
    // With huge pages promised but not given, a container's PostgreSQL dies of SIGBUS.
    huge_pages: "off",
    max_wal_size: "1GB",
    checkpoint_completion_target: 0.9,
    wal_compression: "on",
    random_page_cost: 1.1,
    // Our statements take less time than their compilation.
    jit: "off",
    timezone: "UTC",
    log_timezone: "UTC",
    logging_collector: "off",
    log_destination: "stderr",
    log_line_prefix: "%m [%p] ",
    log_min_messages: "warning",
    // Values of rows and statements (addresses, hashes) stay out of the log; the app logs its own errors.
    log_error_verbosity: "terse",
    log_min_error_statement: "panic",
    log_checkpoints: "off",
  };
  return Object.entries(values).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

/** @returns undefined when it takes connections, else why it does not */
async function untilReady(
  plan: ServerPlan,
  server: Server,
  onProgress: (message: string) => void,
  signal: AbortSignal,
): Promise<string | undefined> {
  let end: string | undefined;
  void server.ended.then((how) => {
    end = how;
  });
  const startedAt = performance.now();
  let nextReportMs = 3_000;
  for (;;) {
    // Without a connection, which the server would log as refused while it recovers.
    const postmaster = readPostmasterFile(plan.clusterPath);
    if (end !== undefined) return end;
    if (postmaster?.pid === server.pid && postmaster.isReady) return undefined;
    const elapsedMs = performance.now() - startedAt;
    if (signal.aborted || elapsedMs > recoveryTimeoutMs) {
      await server.stop();
      return signal.aborted ? "stopped" : `not ready after ${recoveryTimeoutMs / 1000} s`;
    }
    if (elapsedMs > nextReportMs) {
      onProgress(
        `PostgreSQL is still starting after ${Math.round(elapsedMs / 1000)} s (after a crash it has to catch up) …`,
      );
      nextReportMs *= 2;
    }
    await Bun.sleep(elapsedMs < 1_000 ? 4 : 50);
  }
}

function logSince(plan: ServerPlan, start: number): string {
  try {
    return readFileSync(logPathIn(plan.folder)).subarray(start).toString();
  } catch {
    return "";
  }
}

async function endProcess(pid: number, isThere: () => boolean): Promise<void> {
  const steps = [
    ["SIGINT", fastShutdownMs],
    ["SIGQUIT", immediateShutdownMs],
    ["SIGKILL", 2_000],
  ] as const;
  for (const [send, patienceMs] of steps) {
    if (!isThere()) return;
    signalIfAlive(pid, send);
    await until(() => !isThere(), patienceMs);
  }
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone by itself.
  }
}

async function until(isSo: () => boolean, patienceMs: number): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!isSo() && performance.now() < deadline) await Bun.sleep(5);
}
