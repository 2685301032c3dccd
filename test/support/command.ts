import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = dirname(dirname(import.meta.dir));
const running = new Set<Conduit>();
const folders: string[] = [];

/** A running `conduit` process. */
export type Conduit = {
  /** Everything printed so far, to both streams. */
  output(): string;
  /** The URL of the server. Rejects if the program exits before it listens. */
  ready: Promise<string>;
  /** The exit status. */
  ended: Promise<number>;
  /** Sends a signal and waits for the exit. */
  end(signal: NodeJS.Signals): Promise<number>;
};

/** Starts the program as a user would. Its environment has only PATH. */
export function conduit(args: string[], env: Record<string, string> = {}): Conduit {
  const child = Bun.spawn([process.execPath, "src/main.ts", ...args], {
    cwd: root,
    env: { PATH: process.env.PATH ?? "", LOG_LEVEL: "warn", LOG_FORMAT: "pretty", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  const announced = Promise.withResolvers<string>();
  announced.promise.catch(() => {});
  const reading = [child.stdout, child.stderr].map(async (stream) => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      output += chunk;
      const [, url] = /^Server is running on (http:\S+)$/m.exec(output) ?? [];
      if (url !== undefined) announced.resolve(url.replace("localhost", "127.0.0.1"));
    }
  });
  const ended = child.exited.then(async (status) => {
    await Promise.all(reading);
    running.delete(started);
    announced.reject(new Error(`exited with ${status}: ${output}`));
    return status;
  });
  const started: Conduit = {
    output: () => output,
    ready: announced.promise,
    ended,
    end(signal) {
      child.kill(signal);
      return ended;
    },
  };
  running.add(started);
  return started;
}

/** A new, empty folder. `stopCommands` removes it. */
export async function dataFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "conduit-cli-"));
  folders.push(folder);
  return folder;
}

/** Stops what is still running, and removes the folders. For `afterAll`. */
export async function stopCommands(): Promise<void> {
  for (const conduit of running) await conduit.end("SIGTERM");
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
}
