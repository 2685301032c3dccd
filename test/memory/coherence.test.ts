import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { servedRoutes } from "../../src/http/openapi.ts";
import { createOtherWorkers, createWorkerReports, type OtherWorkers } from "../../src/server/worker-reports.ts";
import { type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";
import { createWorld, differences, perform, READS, readAll, VIEWERS, WRITES } from "../support/reads-and-writes.ts";
import { until } from "../support/until.ts";

// What is held in memory never becomes too old here: a read shows a write only because the write was reported.
const NEVER_MS = 3_600_000;
const memory = { bytesMax: 64 * 1024 * 1024, ageMaxMs: NEVER_MS };

/** Handles the writes. */
let server: TestServer;
/** Another instance on the same database, which hears of changes by notification. */
let instance: TestServer;
/** Another worker of the same server. */
let worker: TestServer;
/** Holds nothing in memory. */
let database: TestServer;
let registered: TestUser;
const reports = createWorkerReports();

beforeAll(async () => {
  const [serverId, others] = [crypto.randomUUID(), [joined(), joined()] as const];
  server = await testServer({ memory: { ...memory, serverId, reportToWorkers: others[0].report } });
  const { address } = server;
  worker = await testServer({ address, memory: { ...memory, serverId, reportToWorkers: others[1].report } });
  instance = await testServer({ address, memory });
  database = await testServer({ address, memory: { bytesMax: 0 } });
  registered = await server.register("registered");
  for (const [i, { memory }] of [server, worker].entries()) {
    others[i]?.govern(memory);
    await until(() => memory.isServing());
  }
});
afterAll(() => reports.close());

/** A worker, in this process. Messages arrive later, as between processes. */
function joined(): OtherWorkers {
  const member = reports.join((message) => setTimeout(() => others.receive(message)));
  const others = createOtherWorkers((message) => setTimeout(() => member.receive(message)));
  return others;
}

describe("after a write, every read for every viewer is as if nothing was in memory:", () => {
  for (const [name, write] of Object.entries(WRITES)) {
    test(name, async () => {
      const world = await createWorld(server, registered);
      // The writes of the world may arrive late.
      const before = await readAll(database, world);
      await until(async () => differences(await readAll(instance, world), before).length === 0);
      for (const other of [server, worker]) expect(differences(await readAll(other, world), before)).toEqual([]);
      const hits = [server, worker, instance].map(({ memory }) => memory.state().hits);

      for (const other of [server, worker, instance]) await readAll(other, world);
      for (const [i, other] of [server, worker, instance].entries()) {
        expect(other.memory.state().hits - (hits[i] ?? 0)).toBeGreaterThan(Object.keys(READS).length);
      }
      await perform(server, world, write);

      const after = await readAll(database, world);
      expect(differences(after, before)).toEqual(Object.keys(READS).filter((read) => write.shownBy.includes(read)));
      // At once, on every process of the server that handled the write.
      expect(differences(await readAll(worker, world), after)).toEqual([]);
      expect(differences(await readAll(server, world), after)).toEqual([]);
      // Soon, on other instances.
      await until(async () => differences(await readAll(instance, world), after).length === 0);
    });
  }
});

test("a list by a name that nobody had shows who takes it", async () => {
  const path = "/api/articles?author=newcomer";
  const countOn = async (on: TestServer) => (await on.request("GET", path)).json.articlesCount;
  for (const on of [server, worker, instance]) expect(await countOn(on)).toBe(0);
  await server.publish(await server.register("newcomer"));
  for (const on of [server, worker]) expect(await countOn(on)).toBe(1);
  await until(async () => (await countOn(instance)) === 1);
});

describe("a read becomes wrong if one of the reports is missing:", () => {
  for (const [name, write] of Object.entries(WRITES)) {
    test(name, async () => {
      const { changed } = server.memory;
      let reports = 1;
      for (let missing = 0; missing < reports; missing++) {
        const world = await createWorld(server, registered);
        await readAll(server, world);
        let report = "";
        server.memory.changed = (topics) => {
          reports = topics.length;
          report = topics[missing] ?? "";
          return changed(topics.filter((topic) => topic !== report));
        };
        await perform(server, world, write);
        server.memory.changed = changed;
        const wrong = differences(await readAll(server, world), await readAll(database, world));
        expect({ report, wrong }).not.toEqual({ report, wrong: [] });
        server.memory.forgetEverything();
      }
    });
  }
});

describe("each reader sees their own flags, whoever fills memory:", () => {
  test.each(VIEWERS)("%s", async (first) => {
    const world = await createWorld(server, registered);
    const expected = await readAll(database, world);
    server.memory.forgetEverything();
    for (const viewer of [first, ...VIEWERS, first]) {
      expect({ viewer, wrong: differences(await readAll(server, world, [viewer]), expected, [viewer]) }).toEqual({
        viewer,
        wrong: [],
      });
    }
  });
});

test("a deleted account reads as an anonymous reader, who is notified of it", async () => {
  const world = await createWorld(server, registered);
  await readAll(server, world);
  await server.sql`delete from users where username = ${world.reader.username}`;
  const expected = await readAll(database, world);
  for (let round = 0; round < 2; round++) {
    expect(differences(await readAll(server, world), expected)).toEqual([]);
    const { headers } = await server.request("GET", "/api/articles", { token: world.reader.token });
    expect(headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
  }
});

test("every route that reads is among these reads, or is not in memory", async () => {
  const world = await createWorld(server, registered);
  const paths = Object.values(READS).map((path) => path(world).replace(/\?.*/, ""));
  const isTested = (route: string) => {
    const pattern = new RegExp(`^${route.replace("GET ", "").replaceAll(/:\w+/g, "[^/]+")}$`);
    return paths.some((path) => pattern.test(path));
  };
  const routes = servedRoutes(testApp(server.db).routes).filter((route) => route.startsWith("GET /api/"));
  expect(routes.filter((route) => !isTested(route)).sort()).toEqual(DIRECT);
});

const DIRECT = [
  "GET /api/articles/:slug/revisions",
  "GET /api/articles/:slug/revisions/:number",
  "GET /api/articles/:slug/revisions/:number/diff",
  "GET /api/auth/sessions",
  "GET /api/auth/verify-email",
  "GET /api/search",
  "GET /api/search/suggestions",
  "GET /api/user",
];

test("every route that writes is among these writes, or changes nothing that readers see", () => {
  // Forms of pages call the same functions; test/web tests those.
  const routes = servedRoutes(testApp(server.db).routes).filter((route) => /^(?!GET )\w+ \/api\//.test(route));
  const tested = new Set(["POST /api/users", ...Object.values(WRITES).map(({ route }) => route)]);
  expect(routes.filter((route) => !tested.has(route)).sort()).toEqual(INVISIBLE);
});

/** Routes that change sessions, links and addresses. */
const INVISIBLE = [
  "DELETE /api/auth/sessions",
  "DELETE /api/auth/sessions/:id",
  "POST /api/auth/forgot-password",
  "POST /api/auth/logout",
  "POST /api/auth/refresh",
  "POST /api/auth/resend-verification",
  "POST /api/auth/reset-password",
  "POST /api/auth/undo-email-change",
  "POST /api/auth/verify-email",
  "POST /api/users/login",
];
