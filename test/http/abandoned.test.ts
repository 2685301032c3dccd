import { expect, test } from "bun:test";
import { testServer } from "../support/harness.ts";
import { rawConnection } from "../support/raw.ts";

test("requests whose clients are gone give their places in the pools back", async () => {
  // Memory would run one statement for equal requests.
  const memory = { bytesMax: 0 };
  const server = await testServer({
    memory,
    limits: { poolMax: 2, queueTimeoutMs: 20_000, statementTimeoutMs: 20_000 },
  });
  const anna = await server.register("anna");
  const hold = await server.sql.reserve();
  await hold`begin`;
  await hold`lock table tags, follows in access exclusive mode`;
  const requests = [
    "GET /api/tags HTTP/1.1",
    // On the connections for slow reads, and on those for writes.
    "GET /api/tags?q=a HTTP/1.1",
    "DELETE /api/profiles/anna/follow HTTP/1.1",
  ];
  const clients = requests.flatMap((request) =>
    Array.from({ length: 10 }, () =>
      rawConnection(server.url, `${request}\r\nHost: x\r\nAuthorization: Token ${anna.token}\r\n\r\n`),
    ),
  );
  const places = () => Object.values(server.db.state()).reduce((sum, { inUse, waiting }) => sum + inUse + waiting, 0);
  while (places() < clients.length) await Bun.sleep(5);
  for (const { close } of clients) close();
  await hold`rollback`;
  hold.release();
  while (places() > 0) await Bun.sleep(5);
  expect((await server.request("GET", "/api/tags?q=a")).status).toBe(200);
  expect((await server.request("DELETE", "/api/profiles/anna/follow", { token: anna.token })).status).toBe(200);
  await server.stop();
}, 60_000);
