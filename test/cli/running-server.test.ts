import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Conduit, conduit, dataFolder, stopCommands } from "../support/command.ts";

let dataDir: string;
let server: Conduit;
let url: string;
beforeAll(async () => {
  dataDir = await dataFolder();
  server = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
  url = await server.ready;
}, 60_000);
afterAll(stopCommands, 60_000);

async function run(...args: string[]): Promise<{ status: number; output: string }> {
  const program = conduit([...args, `--data-dir=${dataDir}`]);
  return { status: await program.ended, output: program.output() };
}

describe("next to a running server with an embedded PostgreSQL", () => {
  test("migrate checks the schema in the server's database", async () => {
    expect(await run("migrate")).toEqual({ status: 0, output: "The schema is up to date.\n" });
  });

  test("seed fills the server's database, which the server shows at once, and refuses to do so twice", async () => {
    const first = await run("seed");
    expect(first).toMatchObject({ status: 0 });
    const { articlesCount } = (await (await fetch(`${url}/api/articles`)).json()) as { articlesCount: number };
    expect(articlesCount).toBeGreaterThan(20);

    const [, email, password] = /email (\S+) and password (".*")\.$/m.exec(first.output) ?? [];
    const login = await fetch(`${url}/api/users/login`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: { email, password: JSON.parse(password ?? '""') } }),
    });
    expect(login.status).toBe(200);

    const second = await run("seed");
    expect(second.status).toBe(1);
    expect(second.output).toContain("The database is not empty");
  });

  test("backup copies the server's database", async () => {
    const file = join(dataDir, "copy.backup");
    const { status, output } = await run("backup", file);
    expect(status).toBe(0);
    expect(output).toMatch(/^Wrote \d+ users, \d+ articles, \d+ comments/);
    expect(await Bun.file(file).exists()).toBe(true);
  });

  test("restore refuses, and names the remedy", async () => {
    const { status, output } = await run("restore", "any.backup");
    expect(status).toBe(1);
    expect(output).toStartWith(`A server is running on ${dataDir}. Stop it, or restore into another folder`);
  });

  test("health asks this machine, and no proxy of the environment", async () => {
    const proxy = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("from the proxy") });
    const env = { HTTP_PROXY: proxy.url.origin, http_proxy: proxy.url.origin, NO_PROXY: "other.example" };
    const program = conduit(["health", `--port=${new URL(url).port}`], env);
    expect(await program.ended).toBe(0);
    expect(JSON.parse(program.output())).toMatchObject({ status: "ok" });
    await proxy.stop(true);
  });

  test("health and doctor find a server that listens on an IPv6 address", async () => {
    const other = conduit(["serve", "--port=0", "--host=::1"], { DATA_DIR: await dataFolder() });
    const port = new URL(await other.ready).port;
    const health = conduit(["health", "--host=::1", `--port=${port}`]);
    expect(await health.ended).toBe(0);
    expect(JSON.parse(health.output())).toMatchObject({ status: "ok" });
    const doctor = conduit(["doctor", "--host=::1", `--port=${port}`, `--data-dir=${dataDir}`]);
    await doctor.ended;
    expect(doctor.output()).toMatch(new RegExp(`^ok +port +Conduit .* is running on ${port}$`, "m"));
    expect(await other.end("SIGTERM")).toBe(0);
  }, 120_000);

  test("the server still runs, and stops without an error", async () => {
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    expect(await server.end("SIGTERM")).toBe(0);
  });
});
