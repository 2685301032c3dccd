import { afterAll, describe, expect, test } from "bun:test";
import { conduit, dataFolder, stopCommands } from "../support/command.ts";

afterAll(stopCommands);

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

describe("serve with an embedded PostgreSQL", () => {
  test("creates its database, keeps data and tokens across restarts, and stops on SIGTERM and SIGINT", async () => {
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

  test("kill -9 during writes loses no acknowledged write", async () => {
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
    // Writes in flight at the kill may be stored without a response: at most four writers in each of two rounds.
    expect(list.articlesCount).toBeGreaterThanOrEqual(acknowledged);
    expect(list.articlesCount).toBeLessThanOrEqual(acknowledged + 8);
    expect(await server.end("SIGTERM")).toBe(0);
  });
});
