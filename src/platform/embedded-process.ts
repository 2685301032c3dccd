import { readFileSync, readlinkSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { processIds } from "./embedded-account.ts";

/** The environment of PostgreSQL's programs. Nothing of ours: `PG*`, `TZ` and `LC_*` would change what they do. */
export function programEnvironment(): Record<string, string> {
  const names = process.platform === "win32" ? ["SystemRoot", "PATH", "TEMP", "TMP"] : [];
  const inherited = names.map((name) => [name, process.env[name] ?? ""]);
  return { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", ...Object.fromEntries(inherited) };
}

/**
 * The live processes of PostgreSQL (server, its children, initdb) whose working folder is this cluster. A process
 * number alone proves nothing, as it may have gone to another program since.
 * Empty where there is no /proc.
 */
export function programsIn(clusterPath: string): number[] {
  const cluster = statSync(clusterPath, { throwIfNoEntry: false });
  if (cluster === undefined) return [];
  return processIds().filter((pid) => {
    try {
      const cwd = statSync(`/proc/${pid}/cwd`);
      if (cwd.ino !== cluster.ino || cwd.dev !== cluster.dev) return false;
      // "postgres (deleted)" after an update of the package.
      return /^(postgres|initdb)( |$)/.test(basename(readlinkSync(`/proc/${pid}/exe`)));
    } catch {
      return false;
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

/** Whether a process of this number is alive and is the server of this cluster. */
export function isPostmasterOf(pid: number, clusterPath: string): boolean {
  if (process.platform === "linux") return programsIn(clusterPath).includes(pid);
  if (process.platform === "win32" || !isAlive(pid)) return false;
  const { stdout } = Bun.spawnSync(["ps", "-o", "command=", "-p", String(pid)]);
  const command = stdout.toString();
  return command.includes("postgres") && command.includes(clusterPath);
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
