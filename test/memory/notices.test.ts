import { beforeAll, expect, test } from "bun:test";
import type { SQL } from "bun";
import { connect, type TestServer, type TestServerOptions, type TestUser, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

const memory = { bytesMax: 64 * 1024 * 1024, ageMaxMs: 3_600_000 };
let server: TestServer;
let author: TestUser;
/** Changes rows as `psql` does: nobody is notified. */
let psql: SQL;

beforeAll(async () => {
  server = await testServer({ memory });
  author = await server.register("author");
  psql = connect(server.address, 1);
});

const instance = (options: TestServerOptions = {}) => testServer({ address: server.address, memory, ...options });

async function publish(): Promise<{ slug: string; path: string }> {
  const { slug } = await server.publish(author, { description: "before" });
  return { slug, path: `/api/articles/${slug}` };
}

const descriptionOn = async (on: TestServer, path: string): Promise<string> =>
  (await on.request("GET", path)).json.article.description;

const edit = (on: TestServer, path: string) =>
  on.request("PUT", path, { token: author.token, body: { article: { description: "after" } } });

test("a change that nobody reports is visible when the value in memory is too old", async () => {
  const short = await instance({ memory: { ...memory, ageMaxMs: 300 } });
  const { slug, path } = await publish();
  await until(async () => (await descriptionOn(short, path)) === "before" && short.memory.state().hits > 0);
  await psql`update articles set description = 'after' where slug = ${slug}`;
  await until(async () => (await descriptionOn(short, path)) === "after");
  await psql`delete from articles where slug = ${slug}`;
  await until(async () => (await short.request("GET", path)).status === 404);
  await short.stop();
});

test("an instance forgets everything when it has lost its connection, and hears again", async () => {
  const other = await instance();
  const { slug, path } = await publish();
  expect(await descriptionOn(other, path)).toBe("before");
  await psql`update articles set description = 'missed' where slug = ${slug}`;
  expect(await descriptionOn(other, path)).toBe("before");
  await psql`
    select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'conduit listen'`;
  await until(async () => (await descriptionOn(other, path)) === "missed");
  await edit(server, path);
  await until(async () => (await descriptionOn(other, path)) === "after");
  await other.stop();
});

test("an instance whose connection delivers nothing serves nothing from memory, until it hears again", async () => {
  const proxy = startProxy(server.address);
  const times = { everyMs: 20, silentMs: 300, reopenMs: 400 };
  const deaf = await instance({ listener: { address: proxy.address, times } });
  const { slug, path } = await publish();
  await until(async () => deaf.memory.isServing() && (await descriptionOn(deaf, path)) === "before");
  // Half open: TCP reports nothing.
  proxy.hang();
  await until(() => !deaf.memory.isServing());
  for (const description of ["one", "two"]) {
    await psql`update articles set description = ${description} where slug = ${slug}`;
    expect(await descriptionOn(deaf, path)).toBe(description);
  }
  proxy.restore();
  await until(() => deaf.memory.isServing());
  expect(await descriptionOn(deaf, path)).toBe("two");
  await edit(server, path);
  await until(async () => (await descriptionOn(deaf, path)) === "after");
  await deaf.stop();
  proxy.stop();
});

test("an instance without memory reports its writes, too", async () => {
  const [without, other] = [await instance({ memory: { bytesMax: 0 } }), await instance()];
  const { path } = await publish();
  expect(await descriptionOn(other, path)).toBe("before");
  await edit(without, path);
  await until(async () => (await descriptionOn(other, path)) === "after");
  expect(without.memory.state()).toMatchObject({ hits: 0, values: 0 });
  await Promise.all([without.stop(), other.stop()]);
});

test("many changes at once all arrive", async () => {
  const other = await instance();
  const articles = await Promise.all(Array.from({ length: 20 }, publish));
  const descriptions = () => Promise.all(articles.map(({ path }) => descriptionOn(other, path)));
  await until(async () => (await descriptions()).every((description) => description === "before"));
  await psql`update articles set description = 'after'`;
  expect(new Set(await descriptions())).toEqual(new Set(["before"]));
  // More than one notification can carry, and then more than several can.
  const ids = (await psql`select id from articles order by id`).map(({ id }: { id: string }) => id);
  for (const count of [1_000, 100_000]) {
    const topics = Array.from({ length: count }, (_, i) => `article ${i}-of-none`);
    await server.memory.changed([...topics, ...ids.map((id: string) => `article ${id}`)]);
    await until(async () => (await descriptions()).every((description) => description === "after"));
    await psql`update articles set description = 'before'`;
    other.memory.forgetEverything();
    await descriptions();
    await psql`update articles set description = 'after'`;
  }
  await other.stop();
});
