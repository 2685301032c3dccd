import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { type TestUser, testServer } from "../support/harness.ts";
import { type Served, serve, stopServed } from "../support/serve.ts";
import { until } from "../support/until.ts";

/** A client with a connection of its own, and so with a worker of its own. */
type Client = {
  send(method: string, path: string, body?: object, requestId?: string): Promise<{ status: number; text: string }>;
  close(): void;
};

let served: Served;
let author: TestUser;
/** One for each worker. */
let clients: [Client, Client];

beforeAll(async () => {
  const { address, register } = await testServer();
  author = await register("author");
  served = await serve(address, { WORKERS: "2" });
  clients = [await clientOf(0), await clientOf(1)];
});
afterAll(stopServed);

function newClient(): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    close: () => agent.destroy(),
    send: (method, path, body, requestId = crypto.randomUUID()) =>
      new Promise((resolve, reject) => {
        const headers = {
          Authorization: `Token ${author.token}`,
          "Content-Type": "application/json",
          "X-Request-Id": requestId,
        };
        const sent = request(served.url + path, { agent, method, headers }, async (response) => {
          response.setEncoding("utf8");
          let text = "";
          for await (const chunk of response) text += chunk;
          resolve({ status: response.statusCode ?? 0, text });
        });
        sent.on("error", reject);
        sent.end(body && JSON.stringify(body));
      }),
  };
}

/** The kernel chooses the worker of a connection. The log says which it is. */
async function clientOf(worker: number): Promise<Client> {
  for (;;) {
    const client = newClient();
    const requestId = crypto.randomUUID();
    const isServed = await client.send("GET", "/api/tags", undefined, requestId).catch(() => false);
    // The kernel may still choose a worker that is being killed.
    if (!isServed) continue;
    const lines = () => served.output().split("\n");
    const line = await until(() => lines().find((line) => line.includes(requestId)));
    if (JSON.parse(line).worker === worker) return client;
  }
}

function pidOf(worker: number): number {
  const children = readFileSync(`/proc/${served.pid}/task/${served.pid}/children`, "utf8").trim().split(" ");
  const pid = children.find((pid) =>
    readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`CONDUIT_WORKER=${worker}`),
  );
  return Number(pid);
}

async function publish(title: string): Promise<string> {
  const article = { title, description: "0", body: "A body" };
  await clients[0].send("POST", "/api/articles", { article });
  return `/api/articles/${title}`;
}

const description = async (client: Client, path: string): Promise<string> =>
  JSON.parse((await client.send("GET", path)).text).article.description;

test("a write on one worker is in the next read on each", async () => {
  const path = await publish("each");
  for (let i = 1; i <= 50; i++) {
    for (const client of clients) expect(await description(client, path)).toBe(String(i - 1));
    const writer = clients[i % 2] as Client;
    await writer.send("PUT", path, { article: { description: String(i) } });
    for (const client of clients) expect(await description(client, path)).toBe(String(i));
  }
});

test("a worker that hangs does not hold up writes, and serves nothing that they changed when it continues", async () => {
  const path = await publish("hangs");
  for (const client of clients) expect(await description(client, path)).toBe("0");
  const pid = pidOf(1);
  process.kill(pid, "SIGSTOP");
  for (const text of ["1", "2", "3"]) {
    expect((await clients[0].send("PUT", path, { article: { description: text } })).status).toBe(200);
  }
  // It waits in the worker's socket.
  const read = description(clients[1], path);
  process.kill(pid, "SIGCONT");
  expect(await read).toBe("3");
  await clients[0].send("PUT", path, { article: { description: "4" } });
  expect(await description(clients[1], path)).toBe("4");
});

test("a worker that is killed does not hold up writes", async () => {
  const path = await publish("killed");
  const pid = pidOf(1);
  // Its idle connection would be reset.
  clients[1].close();
  process.kill(pid, "SIGSTOP");
  const write = clients[0].send("PUT", path, { article: { description: "1" } });
  process.kill(pid, "SIGKILL");
  expect((await write).status).toBe(200);
  const next = await clientOf(1);
  expect(await description(next, path)).toBe("1");
  await clients[0].send("PUT", path, { article: { description: "2" } });
  expect(await description(next, path)).toBe("2");
});
