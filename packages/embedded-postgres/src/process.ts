import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { StartupError } from "../../../src/config/startup-error.ts";
import { processIds } from "./account.ts";
import { errorCode } from "./folder.ts";

/** The environment of PostgreSQL's programs. Nothing of ours: `PG*`, `TZ` and `LC_*` would change what they do. */
export function programEnvironment(): Record<string, string> {
  const names = process.platform === "win32" ? ["SystemRoot", "PATH", "TEMP", "TMP"] : [];
  const inherited = names.map((name) => [name, process.env[name] ?? ""]);
  return { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", ...Object.fromEntries(inherited) };
}

/**
 * Why a program of PostgreSQL could not even be run, in words.
 * @throws whatever `error` is, if the operating system did not name a reason
 */
export function programFault(error: unknown, program: string): StartupError {
  const code = errorCode(error);
  if (code === "") throw error;
  return new StartupError(
    `${program} cannot be run here (${code}). It needs glibc, which Alpine Linux has not, and a file system without noexec. ` +
      "Set DATABASE_URL to use a PostgreSQL of your own.",
  );
}

/**
 * The mark of one cluster, which stands in the command line of each of its processes (as `cluster_name`). Taken from the
 * folder's identity in the file system, so it stays when the folder is moved, and a copy gets another one.
 */
export function clusterMark(clusterPath: string): string {
  const { dev, ino } = statSync(clusterPath, { bigint: true });
  return `conduit-${ino.toString(36)}-${dev.toString(36)}`;
}

/**
 * The live processes of PostgreSQL (server, its children, initdb) that belong to this cluster. A process number alone
 * proves nothing, as it may have gone to another program since. The command line is asked, not the working folder:
 * that of another user's process is closed to root itself in a container (it lacks CAP_SYS_PTRACE).
 * Empty on Windows.
 */
export function programsIn(clusterPath: string): number[] {
  const cluster = statSync(clusterPath, { throwIfNoEntry: false });
  if (cluster === undefined) return [];
  const mark = clusterMark(clusterPath);
  return commandLines()
    .filter(({ uid, command }) => uid === cluster.uid && command.includes(mark))
    .filter(({ command }) => /^postgres:|(^|\/)(postgres|initdb)\s/.test(command))
    .map(({ pid }) => pid);
}

function commandLines(): { pid: number; uid: number; command: string }[] {
  if (process.platform === "win32") return [];
  if (process.platform !== "linux") {
    const { stdout } = Bun.spawnSync(["ps", "-axo", "pid=,uid=,command="]);
    return [...stdout.toString().matchAll(/^\s*(\d+)\s+(\d+)\s+(.*)$/gm)].map(([, pid, uid, command = ""]) => ({
      pid: Number(pid),
      uid: Number(uid),
      command,
    }));
  }
  return processIds().flatMap((pid) => {
    try {
      const { uid } = statSync(`/proc/${pid}`);
      // A path with a space in it must not end the program's name; the arguments end in NUL.
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return [{ pid, uid, command: command.replaceAll(" ", "_").replaceAll("\0", " ") }];
    } catch {
      return [];
    }
  });
}

/** What postmaster.pid says, whether or not its writer is still alive. */
export function readPostmasterFile(clusterPath: string): { pid: number; isReady: boolean } | undefined {
  try {
    const lines = readFileSync(join(clusterPath, "postmaster.pid"), "utf8").split("\n");
    const pid = Number(lines[0]);
    // Line 8 is the state, as pg_ctl reads it (PostgreSQL, src/include/utils/pidfile.h).
    return Number.isInteger(pid) && pid > 0 ? { pid, isReady: lines[7]?.trim() === "ready" } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process of this number exists, whoever's it is. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** The line of a log that says best why a program ended: the last fatal one, else the last error, else the last. */
export function lastTelling(log: string): string {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const last = (pattern: RegExp): string | undefined => lines.findLast((line) => pattern.test(line));
  const line = last(/\b(FATAL|PANIC):/) ?? last(/\bERROR:|\berror\b/) ?? lines.at(-1) ?? "";
  return line.replace(/^.*?\b((FATAL|PANIC|ERROR):\s*)/, "").trim();
}
