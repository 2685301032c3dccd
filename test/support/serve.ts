import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { JWT_SECRET } from "./harness.ts";

const root = dirname(dirname(import.meta.dir));

/** The program itself, as its own process. */
export type Served = {
  readonly url: string;
  readonly metricsUrl: string;
  readonly pid: number;
  /** Everything printed so far, including the log. */
  output(): string;
  kill(signal: NodeJS.Signals): void;
  /** The exit code; null if a signal ended it. */
  readonly exited: Promise<number | null>;
};

const running: { kill(): void; exited: Promise<unknown> }[] = [];

/** Stops the servers that still run. For `afterAll`. */
export async function stopServed(): Promise<void> {
  for (const served of running.splice(0)) {
    served.kill();
    await served.exited;
  }
}

/** Starts `conduit serve` on an existing database with these settings, and waits until it listens. */
export async function serve(address: DatabaseAddress, settings: Record<string, string> = {}): Promise<Served> {
  // Not used with DATABASE_URL, but tests must not write into the project.
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-serve-"));
  const child = Bun.spawn([process.execPath, join(root, "src/main.ts"), "serve"], {
    env: {
      PATH: process.env.PATH ?? "",
      HOST: "127.0.0.1",
      PORT: "0",
      METRICS_PORT: "0",
      DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl(address),
      DATABASE_POOL_MAX: "2",
      JWT_SECRET,
      ...settings,
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  const reading = [child.stdout, child.stderr].map(async (stream) => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) output += chunk;
  });
  let hasExited = false;
  const exited = child.exited.then(async () => {
    // The process may be known to have exited before its last lines have been read.
    await Promise.all(reading);
    await rm(dataDir, { recursive: true, force: true });
    hasExited = true;
    return child.exitCode;
  });
  running.push({ kill: () => child.kill("SIGKILL"), exited });
  const find = (pattern: RegExp) => pattern.exec(output)?.[1];
  while (find(/Server is running on (http:\S+?)[\s"]/) === undefined && !hasExited) await Bun.sleep(20);
  const url = find(/Server is running on (http:\S+?)[\s"]/);
  if (url === undefined) throw new Error(`the server did not start:\n${output}`);
  return {
    url,
    metricsUrl: find(/Metrics are on (http:\S+?)[\s"]/) ?? "",
    pid: child.pid,
    output: () => output,
    kill: (signal) => child.kill(signal),
    exited,
  };
}

export function databaseUrl({
  username,
  password,
  hostname,
  port,
  database,
  socketPath,
  tls,
}: DatabaseAddress): string {
  const host = socketPath === undefined ? "" : `&host=${encodeURIComponent(dirname(socketPath))}`;
  return `postgres://${username}:${encodeURIComponent(password)}@${hostname}:${port}/${database}?sslmode=${tls}${host}`;
}
