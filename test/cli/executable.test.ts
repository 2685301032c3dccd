import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { startCollector } from "../support/collector.ts";
import { JWT_SECRET, testDatabase } from "../support/harness.ts";

let folder: string;
let executable: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "conduit-executable-"));
  executable = join(folder, "conduit");
  const root = join(import.meta.dir, "../..");
  const build = Bun.spawn([process.execPath, "scripts/build.ts", `--outfile=${executable}`], {
    cwd: root,
    stdout: "ignore",
    stderr: "pipe",
  });
  expect([await build.stderr.text(), await build.exited]).toEqual(["", 0]);
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** For an address on a socket or on TCP. */
function urlOf({ username, password, hostname, port, database, socketPath }: DatabaseAddress): string {
  const socket = socketPath === undefined ? "" : `?host=${encodeURIComponent(dirname(socketPath))}`;
  return `postgres://${username}:${password}@${hostname}:${port}/${database}${socket}`;
}

/** Starts it in a folder and an environment with nothing else. */
const start = (args: string[], env: Record<string, string> = {}) =>
  Bun.spawn([executable, ...args], { cwd: folder, env, stdout: "pipe", stderr: "pipe" });

describe("the executable", () => {
  test("reports a missing DATABASE_URL, and creates no file", async () => {
    const process = start([]);
    expect(await process.stderr.text()).toStartWith("DATABASE_URL is not set. This executable contains no PostgreSQL");
    expect(await process.exited).toBe(1);
    expect([...new Bun.Glob("*").scanSync({ cwd: folder, onlyFiles: false })]).toEqual(["conduit"]);
  });

  test("reads .env without expanding it", async () => {
    const file = join(folder, ".env");
    await Bun.write(file, "LOG_LEVEL='$HOME'\nLOG_FORMAT=a#b\n");
    const process = start(["doctor"], { HOME: "/root" });
    const errors = await process.stderr.text();
    await rm(file);
    expect(errors).toContain('not "$HOME"');
    expect(errors).toContain('not "a#b"');
  });

  test("migrates and serves an external database, pages included", async () => {
    const env = {
      DATABASE_URL: urlOf(await testDatabase({ migrated: false })),
      JWT_SECRET,
      PORT: "0",
      HOST: "127.0.0.1",
    };
    const migrate = start(["migrate"], env);
    expect(await migrate.stdout.text()).toContain(`Applied migration ${migrations.at(-1)?.file}`);
    expect(await migrate.exited).toBe(0);

    const collector = startCollector();
    const server = start(["serve"], {
      ...env,
      LOG_LEVEL: "warn",
      LOG_FORMAT: "pretty",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    });
    try {
      let out = "";
      for await (const chunk of server.stdout) {
        out += new TextDecoder().decode(chunk);
        if (out.includes("Server is running on ")) break;
      }
      const url = /Server is running on (\S+)/.exec(out)?.[1];
      const load = async (path: string) =>
        await (await fetch(`${url}${path}`, { headers: { Accept: "text/html" } })).text();
      expect(JSON.parse(await load("/health"))).toMatchObject({ status: "ok" });
      expect(JSON.parse(await load("/openapi.json")).info.version).toBe(packageJson.version);
      expect(await load("/")).toContain("A place to share what you know.");
      const assets = [...(await load("/docs")).matchAll(/"(\/assets\/[^"]+)"/g)].map(([, path = ""]) => path);
      expect(assets.map((path) => path.split("/").at(-1))).toContain("swagger-ui.js");
      for (const path of assets) {
        const asset = await fetch(url + path);
        expect([path, asset.status]).toEqual([path, 200]);
        // The path has a hash of the content.
        const hash = new Bun.CryptoHasher("sha256")
          .update(await asset.bytes())
          .digest("hex")
          .slice(0, 16);
        expect(path).toContain(hash);
      }
      const health = start(["health"], { ...env, PORT: new URL(url ?? "").port });
      expect(await health.exited).toBe(0);
      const user = { username: "ann", email: "ann@example.com", password: "correct horse" };
      const answer = await fetch(`${url}/api/users`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ user }),
      });
      expect(answer.status).toBe(201);
      // The worker that renders Markdown is in it.
      const { token } = ((await answer.json()) as { user: { token: string } }).user;
      const article = { title: "Rendered", description: "d", body: "*by a worker*", tagList: [] };
      await fetch(`${url}/api/articles`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Token ${token}` },
        body: JSON.stringify({ article }),
      });
      expect(await load("/article/rendered")).toContain("<p><em>by a worker</em></p>");
      // The job queue works in it, too: the mail arrives in the development mailbox.
      const mailbox = new Bun.Glob("data/mail/*.json");
      while ([...mailbox.scanSync({ cwd: folder })].length === 0) await Bun.sleep(25);
    } finally {
      server.kill("SIGTERM");
    }
    expect(await server.exited).toBe(0);
    await collector.stop();
    const request = collector.spans().find(({ name }) => name === "POST /api/users");
    const within = collector.spans().filter(({ parentSpanId }) => parentSpanId === request?.spanId);
    expect(within.map(({ name }) => name)).toContain("user_insert");
    const health = start(["health"], { ...env, PORT: "1" });
    expect(await health.stderr.text()).toStartWith("No response from http://127.0.0.1:1/health/ready");
    expect(await health.exited).toBe(1);
  });
});
