import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Subprocess } from "bun";
import type { DatabaseAddress } from "../src/config/database-address.ts";

const TICKS_PER_S = Number(Bun.spawnSync(["getconf", "CLK_TCK"]).stdout.toString().trim()) || 100;

/** The CPU time of a process and its ended children, in seconds. */
export function cpuOf(pid: number): number {
  // The name, in parentheses, may contain spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), which counts from the process number.
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_S;
}

/** The CPU time of a postmaster and all its children, running and ended, in seconds. */
export function cpuOfPostgres(postmasterPid: number): number {
  let sum = cpuOf(postmasterPid);
  for (const entry of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    try {
      const parent = readFileSync(`/proc/${entry}/stat`, "utf8").split(") ")[1]?.split(" ")[1];
      if (Number(parent) === postmasterPid) sum += cpuOf(Number(entry));
    } catch {
      // It ended meanwhile, and the postmaster's own figure includes it.
    }
  }
  return sum;
}

/** The resident memory of a process, in megabytes (10⁶ bytes). */
export function memoryOf(pid: number): number {
  const [, kB] = /^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return (Number(kB) * 1024) / 1e6;
}

/** `startedMs` is the time from the start of the process to the first successful response. */
export type App = { readonly url: string; readonly pid: number; readonly startedMs: number; stop(): Promise<void> };

/**
 * Starts the program in a process of its own, configured as in production, on a free port unless `settings` has one; its log is
 * written and discarded.
 */
export async function startApp(
  settings: Record<string, string>,
  command: string[] = [process.execPath, join(import.meta.dir, "../src/main.ts"), "serve"],
): Promise<App> {
  const port = settings.PORT ?? freePort();
  const spawned = performance.now();
  const child = Bun.spawn(command, {
    cwd: dirname(import.meta.dir),
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: String(port),
      ...settings,
    },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  });
  const url = `http://127.0.0.1:${port}`;
  const ready = async (): Promise<boolean> => (await fetch(`${url}/health`).catch(() => undefined))?.ok ?? false;
  while (!(await ready())) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`);
    if (performance.now() - spawned > 60_000) throw new Error("the server did not become ready within 60 s");
    await Bun.sleep(2);
  }
  return { url, pid: child.pid, startedMs: performance.now() - spawned, stop: () => stop(child) };
}

/** The `DATABASE_URL` of an address. */
export function urlOf({ username, password, hostname, port, database, socketPath }: DatabaseAddress): string {
  const account = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
  const socket = socketPath === undefined ? "" : `?host=${encodeURIComponent(socketPath.replace(/\/[^/]+$/, ""))}`;
  return `postgres://${account}@${hostname}:${port}/${database}${socket}`;
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** A process that replies to each message with one message. */
export type Responder<Message, Reply> = {
  readonly pid: number;
  send(message: Message): Promise<Reply>;
  stop(): Promise<void>;
};

export function startResponder<Message, Reply>(
  script: string,
  settings: Record<string, string>,
): Responder<Message, Reply> {
  let pending: PromiseWithResolvers<Reply> | undefined;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, script)], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...settings },
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (message) => pending?.resolve(message as Reply),
    onExit: (_, code) => pending?.reject(new Error(`${script} ended with ${code}`)),
  });
  return {
    pid: child.pid,
    send(message) {
      pending = Promise.withResolvers<Reply>();
      child.send(message);
      return pending.promise;
    },
    stop: () => stop(child),
  };
}

async function stop(child: Subprocess): Promise<void> {
  child.kill("SIGTERM");
  const isGone = await Promise.race([child.exited.then(() => true), Bun.sleep(15_000).then(() => false)]);
  if (!isGone) child.kill("SIGKILL");
  await child.exited;
}
