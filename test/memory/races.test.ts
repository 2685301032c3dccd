import { afterAll, beforeAll, expect, test } from "bun:test";
import type { ReservedSQL, SQL } from "bun";
import { connect, type TestResponse, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { untilWaiting } from "../support/locks.ts";
import { until } from "../support/until.ts";

// Loads that overlap with writes, in a fixed order: a lock holds the statement that reads an article after it has taken its
// snapshot of the data, so it returns what was there before.

const memory = { bytesMax: 64 * 1024 * 1024, ageMaxMs: 3_600_000 };
let server: TestServer;
let author: TestUser;
/** Not the server's own, after which a test server forgets everything. */
let watcher: SQL;
let holder: ReservedSQL;

beforeAll(async () => {
  server = await testServer({ memory });
  author = await server.register("author");
  await server.sql`
    create function hold_reads() returns boolean language plpgsql as $$
    begin
      if current_query() like '%octet_length(a.body)%' then perform pg_advisory_xact_lock_shared(1); end if;
      return true;
    end $$`;
  await server.sql`create policy held on articles using (hold_reads())`;
  await server.sql`alter table articles enable row level security, force row level security`;
  watcher = connect(server.address, 1);
  holder = await connect(server.address, 1).reserve();
});
afterAll(() => holder.release());

const hold = () => holder`select pg_advisory_lock(1)`;
const release = () => holder`select pg_advisory_unlock(1)`;
const read = (path: string, token?: string) => server.request("GET", path, { token });
const titleOf = ({ json }: TestResponse): string => json.article.description;

async function articleOnServer(): Promise<string> {
  const { slug } = await server.publish(author, { description: "before" });
  return `/api/articles/${slug}`;
}

const edit = (path: string, description = "after") =>
  server.request("PUT", path, { token: author.token, body: { article: { description } } });

test("a load that began before a write answers who asked before, and is not kept", async () => {
  const path = await articleOnServer();
  await hold();
  const [one, two] = [read(path), read(path)];
  await untilWaiting(watcher, 1);
  expect((await edit(path)).status).toBe(200);
  await release();
  expect([titleOf(await one), titleOf(await two)]).toEqual(["before", "before"]);
  expect(titleOf(await read(path))).toBe("after");
  expect(titleOf(await read(path))).toBe("after");
});

test("a request after a write does not join a load that began before", async () => {
  const path = await articleOnServer();
  await hold();
  const before = read(path);
  await untilWaiting(watcher, 1);
  await edit(path);
  const after = read(path);
  await untilWaiting(watcher, 2);
  await release();
  expect([titleOf(await before), titleOf(await after)]).toEqual(["before", "after"]);
  expect(titleOf(await read(path))).toBe("after");
});

test("the same holds for a signed-in reader, whose statement fills memory too", async () => {
  const path = await articleOnServer();
  await hold();
  const before = read(path, author.token);
  await untilWaiting(watcher, 1);
  await edit(path);
  await release();
  expect(titleOf(await before)).toBe("before");
  expect(titleOf(await read(path, author.token))).toBe("after");
  expect(titleOf(await read(path))).toBe("after");
});

test("requests for the same article at the same time run one statement", async () => {
  const path = await articleOnServer();
  const { misses } = server.memory.state();
  await hold();
  const requests = Array.from({ length: 20 }, () => read(path));
  await until(() => server.memory.state().misses === misses + 20);
  await untilWaiting(watcher, 1);
  const [row] = await watcher`
    select count(*)::integer as n from pg_locks
     where locktype = 'advisory' and not granted
       and database = (select oid from pg_database where datname = current_database())`;
  expect(row.n).toBe(1);
  await release();
  for (const request of requests) expect(titleOf(await request)).toBe("before");
});

test("a load that fails is not kept, and the next request tries again", async () => {
  const missing = "/api/articles/later";
  expect((await read(missing)).status).toBe(404);
  await server.publish(author, { title: "Later" });
  expect((await read(missing)).status).toBe(200);
});
