import { readFileSync } from "node:fs";
import { constants } from "node:os";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
/** A terminal and npm both pass on Ctrl-C, and a shell and the kernel both send SIGHUP: that is one signal, not two. */
const SAME_SIGNAL_MS = 250;

let stopGracefully: (() => Promise<void>) | undefined;
let stoppingSince: number | undefined;

/**
 * Turns the signals that end a process into an exit with 128 + n (POSIX shell, 2.8.2), as an exit, unlike death by
 * signal, stops what this process has started: PostgreSQL, workers. Call it before anything is started. SIGHUP stays
 * ignored where it is, as under `nohup`. The end of `npm` counts as SIGHUP.
 */
export function exitOnSignals(): void {
  for (const signal of SIGNALS) {
    if (signal !== "SIGHUP" || !isHangupIgnored()) process.on(signal, () => receive(signal));
  }
  if (process.env.npm_lifecycle_event !== undefined) onOrphaned(() => receive("SIGHUP"));
}

/**
 * From now on the first signal calls `stop` and then exits with 0. A second one does not wait for that.
 */
export function stopOnSignals(stop: () => Promise<void>): void {
  stopGracefully = stop;
}

/** For a worker: Ctrl-C and the end of a terminal reach it too, but its supervisor decides when to stop. */
export function leaveSignalsToSupervisor(): void {
  for (const signal of ["SIGINT", "SIGHUP", "SIGQUIT"]) process.removeAllListeners(signal).on(signal, () => {});
}

async function receive(signal: (typeof SIGNALS)[number]): Promise<void> {
  if (stoppingSince !== undefined && performance.now() - stoppingSince < SAME_SIGNAL_MS) return;
  if (stopGracefully === undefined || stoppingSince !== undefined) process.exit(128 + constants.signals[signal]);
  stoppingSince = performance.now();
  await stopGracefully();
  process.exit(0);
}

/** From the mask of ignored signals (proc_pid_status(5)). False on systems without /proc. */
function isHangupIgnored(): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
    return ((BigInt(`0x${mask}`) >> BigInt(constants.signals.SIGHUP - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}

/**
 * Calls `stop` when npm is gone, or the shell between npm and this process: neither passes on the signal that ended it. A
 * process whose parent is gone has another parent.
 */
function onOrphaned(stop: () => void): void {
  const parent = process.ppid;
  const shell = commandOf(parent) === "sh" ? { pid: parent, parent: parentOf(parent) } : undefined;
  const watch = setInterval(() => {
    if (process.ppid === parent && (shell === undefined || parentOf(shell.pid) === shell.parent)) return;
    clearInterval(watch);
    stop();
  }, 100);
  watch.unref();
}

const commandOf = (pid: number): string | undefined => statusOf(pid, "Name");
const parentOf = (pid: number): string | undefined => statusOf(pid, "PPid");

/** A field of /proc/PID/status; undefined on systems without it. */
function statusOf(pid: number, field: string): string | undefined {
  try {
    return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}
