import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };

const root = dirname(dirname(import.meta.dir));
const running = new Set<Conduit>();
const folders: string[] = [];

afterAll(async () => {
  for (const conduit of running) await conduit.end("SIGTERM");
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

type Conduit = {
  /** Everything printed so far, both streams. */
  output(): string;
  /** The address of the ready line. Rejects where the program ends without one. */
  ready: Promise<string>;
  /** Resolves to the exit status. */
  ended: Promise<number>;
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<number>;
};

/** The program as a user starts it, with nothing of the test's environment but what is named. */
function conduit(args: string[], env: Record<string, string> = {}): Conduit {
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
    announced.reject(new Error(`ended with ${status}: ${output}`));
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

async function dataFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "conduit-cli-"));
  folders.push(folder);
  return folder;
}

async function post(url: string, path: string, body: unknown, token?: string) {
  const response = await fetch(url + path, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      ...(token === undefined ? {} : { Authorization: `Token ${token}` }),
    },
    body: JSON.stringify(body),
  });
  return { status: response.status, json: (await response.json()) as { user: { token: string } } };
}

describe("a fault that a person can mend is one clear line and exit 1, without a stack trace", () => {
  const faults: [what: string, args: string[], env: Record<string, string>, line: RegExp][] = [
    ["an unknown command", ["fly"], {}, /^There is no command "fly"\. See: conduit --help$/],
    ["an unknown flag", ["serve", "--wings=2"], {}, /^Unknown option '--wings'\. See: conduit --help$/],
    ["a wrong flag", ["--port=99999"], {}, /--port must be a whole number from 0 to 65535, not "99999"/],
    [
      "an unreachable database",
      ["serve"],
      { DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /^Cannot reach the database "db" at 127\.0\.0\.1:1 as user "me".*Check DATABASE_URL/,
    ],
    [
      "an unreachable database, to migrate",
      ["migrate"],
      { DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /^Cannot reach the database/,
    ],
    ["a data folder that is a file", ["serve"], { DATA_DIR: "package.json" }, /is not a folder/],
    [
      "production without a secret",
      ["serve"],
      { NODE_ENV: "production", DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /JWT_SECRET must be set in production/,
    ],
  ];
  test.each(faults)("%s", async (_what, args, env, line) => {
    const program = conduit(args, env);
    expect(await program.ended).toBe(1);
    expect(program.output().trim()).toMatch(line);
    expect(program.output()).not.toMatch(/^\s+at /m);
    expect(program.output()).not.toContain("secret@");
  });

  test("all faults of the configuration are told at once", async () => {
    const program = conduit(["serve"], { PORT: "x", DATABASE_STATEMENT_TIMEOUT: "5", JWT_SECRET: "short" });
    expect(await program.ended).toBe(1);
    expect(program.output()).toMatch(/PORT must be.*\n.*DATABASE_STATEMENT_TIMEOUT must be.*\n.*JWT_SECRET must have/);
  });
});

test("--help tells the commands and settings, --version the version", async () => {
  const help = conduit(["--help"]);
  expect(await help.ended).toBe(0);
  expect(help.output()).toContain("serve");
  expect(help.output()).toContain("--data-dir");
  const version = conduit(["--version"]);
  expect(await version.ended).toBe(0);
  expect(version.output().trim()).toBe(packageJson.version);
});

describe("serve, on a PostgreSQL of its own", () => {
  test("starts from nothing, says so, keeps its data and its tokens, and stops on SIGTERM and SIGINT", async () => {
    const dataDir = await dataFolder();
    const first = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
    const url = await first.ready;
    expect(first.output()).toContain("Creating the database");
    expect(first.output()).toContain("Applied migration 0001_users.sql");
    const user = { username: "keeper", email: "keeper@example.com", password: "correct horse" };
    const registered = await post(url, "/api/users", { user });
    expect(registered.status).toBe(201);

    const taken = conduit(["serve", `--port=${new URL(url).port}`, `--data-dir=${await dataFolder()}`]);
    expect(await taken.ended).toBe(1);
    expect(taken.output()).toMatch(/^Port \d+ is taken by another program\..*--port=\d+/m);

    const second = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
    expect(await second.ended).toBe(1);
    expect(second.output()).toContain("is already in use by another process");

    expect(await first.end("SIGTERM")).toBe(0);

    const again = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
    const current = await fetch(`${await again.ready}/api/user`, {
      headers: { Authorization: `Token ${registered.json.user.token}` },
    });
    expect(current.status).toBe(200);
    expect(await again.end("SIGINT")).toBe(0);
    expect(again.output()).not.toContain("Applied migration");
  });

  test("kill -9 while writing loses nothing that was answered with success", async () => {
    const dataDir = await dataFolder();
    let acknowledged = 0;
    let token = "";
    for (let round = 1; round <= 2; round++) {
      const server = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
      const url = await server.ready;
      if (round === 1) {
        const user = { username: "writer", email: "writer@example.com", password: "correct horse" };
        token = (await post(url, "/api/users", { user })).json.user.token;
      }
      let writing = true;
      const writers = Array.from({ length: 4 }, async () => {
        while (writing) {
          const article = { title: "Written", description: "while", body: "being killed" };
          const answer = await post(url, "/api/articles", { article }, token).catch(() => undefined);
          if (answer?.status === 201) acknowledged++;
          if (answer === undefined) return;
        }
      });
      const before = acknowledged;
      while (acknowledged < before + 50) await Bun.sleep(5);
      await server.end("SIGKILL");
      writing = false;
      await Promise.all(writers);
    }
    const server = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
    const list = (await (await fetch(`${await server.ready}/api/articles`)).json()) as { articlesCount: number };
    expect(acknowledged).toBeGreaterThanOrEqual(100);
    // What was under way when it was killed may have been written without an answer: four writers, two rounds.
    expect(list.articlesCount).toBeGreaterThanOrEqual(acknowledged);
    expect(list.articlesCount).toBeLessThanOrEqual(acknowledged + 8);
    expect(await server.end("SIGTERM")).toBe(0);
  });
});
