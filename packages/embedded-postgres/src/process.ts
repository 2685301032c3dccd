import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { EmbeddedPostgresError, systemCode } from "./errors.ts";

/** The environment of PostgreSQL's programs. Inherits nothing: `PG*`, `TZ` and `LC_*` would change what they do. */
export function programEnvironment(): Record<string, string> {
  const names = process.platform === "win32" ? ["SystemRoot", "PATH", "TEMP", "TMP"] : [];
  const inherited = names.map((name) => [name, process.env[name] ?? ""]);
  return { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", ...Object.fromEntries(inherited) };
}

/**
 * Explains why the operating system did not run one of PostgreSQL's programs.
 * @throws `error` itself if the operating system gave no reason
 */
export function programError(error: unknown, program: string): EmbeddedPostgresError {
  const code = systemCode(error);
  if (code === "") throw error;
  return new EmbeddedPostgresError(
    "cannot-run",
    `${program} cannot run on this system (${code}). It needs glibc, which Alpine Linux does not have, and a file system without noexec.`,
    { cause: error },
  );
}

/**
 * Identifies a cluster. Every process of the cluster has this mark in its command line (as `cluster_name`). It comes from
 * the folder's identity in the file system: moving the folder keeps the mark, and a copy gets another one.
 */
export function clusterMark(clusterPath: string): string {
  const { dev, ino } = statSync(clusterPath, { bigint: true });
  return `embedded-${ino.toString(36)}-${dev.toString(36)}`;
}

/**
 * The ids of the running PostgreSQL processes (server, its children, initdb) of a cluster. Empty on Windows.
 *
 * Compares command lines, because the operating system may have given a recorded process id to another program. Does not
 * compare working folders: in a container without CAP_SYS_PTRACE, even root cannot read those of other users' processes.
 */
export function processesOf(clusterPath: string): number[] {
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
      // Arguments end in NUL. A space in the program's path must not look like the end of an argument.
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return [{ pid, uid, command: command.replaceAll(" ", "_").replaceAll("\0", " ") }];
    } catch {
      return [];
    }
  });
}

/** The ids of all processes in /proc. Empty on systems without /proc (macOS, Windows). */
export function processIds(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** What postmaster.pid contains, whether or not the process that wrote it is still running. */
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

/** Whether any user has a process with this id. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

export function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** The line that best explains why a program ended: the last fatal error, else the last error, else the last line. */
export function explainingLine(output: string): string {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const last = (pattern: RegExp): string | undefined => lines.findLast((line) => pattern.test(line));
  const line = last(/\b(FATAL|PANIC):/) ?? last(/\bERROR:|\berror\b/) ?? lines.at(-1) ?? "";
  return line.replace(/^.*?\b((FATAL|PANIC|ERROR):\s*)/, "").trim();
}
