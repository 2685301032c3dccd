import { expect, test } from "bun:test";
import type { PoolLimits } from "../../src/db/bounded-pool.ts";
import { connect, type TestUser, testDatabase, testPostgres, testServer } from "../support/harness.ts";
import { untilWaiting } from "../support/locks.ts";
import { addUsers } from "../support/people.ts";
import { createRandom, type Random, SEED } from "../support/random.ts";
import { recordingLog } from "../support/recording.ts";
import { expectExact } from "../support/recounts.ts";

const FOUNDER = { email: "founder@example.com", password: "correct horse" };

const TAGS = ["a", "b", "c", "d", "e", "f"];

function tagList(random: Random): string[] {
  return Array.from({ length: random.below(5) }, () => random.pick(TAGS));
}

/** One random write of a user. All users write to the same articles, so that they meet. */
function write(random: Random, people: TestUser[], slugs: string[]): { method: string; path: string; body?: unknown } {
  const slug = slugs.length === 0 ? "none" : random.pick(slugs);
  const one = `/api/articles/${slug}`;
  const profile = `/api/profiles/${random.pick(people).username}/follow`;
  const article = { title: `Title ${random.below(10)}`, description: "d", body: "b", tagList: tagList(random) };
  const kinds: { method: string; path: string; body?: unknown }[] = [
    { method: "POST", path: "/api/articles", body: { article } },
    { method: "POST", path: "/api/articles", body: { article } },
    { method: "PUT", path: one, body: { article: { tagList: tagList(random) } } },
    { method: "POST", path: "/api/articles", body: { article: { ...article, status: "draft" } } },
    { method: "PUT", path: one, body: { article: { status: "draft" } } },
    { method: "PUT", path: one, body: { article: { status: "published" } } },
    { method: "PUT", path: one, body: { article: { status: "published", tagList: tagList(random) } } },
    { method: "PUT", path: one, body: { article: { title: article.title, tagList: tagList(random) } } },
    { method: "DELETE", path: one },
    { method: "POST", path: `${one}/favorite` },
    { method: "POST", path: `${one}/favorite` },
    { method: "POST", path: `${one}/favorite` },
    { method: "DELETE", path: `${one}/favorite` },
    { method: "POST", path: `${one}/comments`, body: { comment: { body: "c" } } },
    { method: "POST", path: profile },
    { method: "DELETE", path: profile },
  ];
  return random.pick(kinds);
}

/** Concurrent writers on two servers, as several instances may share a database. */
async function createStorm(peopleAtFirst: number, deadlockTimeout: string, limits: Partial<PoolLimits> = {}) {
  const random = createRandom(SEED);
  const address = await testDatabase();
  const admin = connect((await testPostgres()).admin, 1);
  await admin.unsafe(`alter database ${address.database} set deadlock_timeout = '${deadlockTimeout}'`);
  const { log, lines } = recordingLog();
  const server = await testServer({ log, address, limits });
  const second = await testServer({ log, address, limits });
  const founder = await server.register("founder");
  let made = 0;
  const join = (count: number) =>
    addUsers(
      server,
      founder,
      Array.from({ length: count }, () => `person${++made}`),
    );
  const people = [founder, ...(await join(peopleAtFirst - 1))];
  const slugs: string[] = [];
  const errors: string[] = [];
  const statuses = new Set<number>();

  async function writer(writes: number): Promise<void> {
    for (let i = 0; i < writes; i++) {
      const user = random.pick(people);
      const { method, path, body } = write(random, people, slugs);
      const { status, text, json } = await random.pick([server, second]).request(method, path, {
        token: user.token,
        body,
      });
      statuses.add(status);
      if (status >= 500) errors.push(`${method} ${path} -> ${status} ${text}`);
      if (status < 300 && path.startsWith("/api/articles") && json?.article) slugs.push(json.article.slug);
      if (status === 404 && slugs.length > 20) slugs.shift();
    }
  }

  async function deleteAccounts(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const [leaver] = people.splice(1 + random.below(people.length - 1), 1) as [TestUser];
      // By hand, as an administrator would, and again after a deadlock.
      for (;;) {
        try {
          await server.sql`delete from users where username = ${leaver.username}`;
          break;
        } catch (error) {
          if ((error as { errno?: string }).errno !== "40P01") throw error;
        }
      }
      people.push(...(await join(1)));
    }
  }

  return {
    server,
    statuses,
    writers: (count: number, writes: number) => Promise.all(Array.from({ length: count }, () => writer(writes))),
    deleteAccounts,
    /** Responses from 500 on, and the logged causes. */
    errors: () => [...errors, ...lines.flatMap(({ fields }) => ("err" in fields ? [Bun.inspect(fields.err)] : []))],
  };
}

test(`maintained counts are exact after a random storm of concurrent writes and deleted accounts (TEST_SEED=${SEED})`, async () => {
  const { server, statuses, writers, deleteAccounts, errors } = await createStorm(10, "50ms");
  for (let round = 0; round < 2; round++) {
    await Promise.all([writers(16, 20), deleteAccounts(3)]);
    await expectExact(server);
  }
  expect(errors()).toEqual([]);
  // The storm was one: it created, changed, missed and refused, also for users whose accounts had just been deleted.
  expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 201, 204, 403, 404]));
  const { json } = await server.request("GET", "/api/articles?limit=1");
  const [{ n }] = await server.sql`select count(*)::integer as n from articles where status = 'published'`;
  expect(json.articlesCount).toBe(n);
  expect(n).toBeGreaterThan(0);

  // When all accounts are deleted, nothing is left.
  await server.sql`delete from users`;
  await expectExact(server);
  const [left] = await server.sql`
    select (select count(*) from articles) + (select count(*) from article_tags) + (select count(*) from tags)
         + (select count(*) from favorites) + (select count(*) from comments) + (select count(*) from follows)
         + (select count(*) from author_counts)
         + (select sum(articles_count) from article_totals) as n`;
  expect(Number(left.n)).toBe(0);
});

test(`writers wait for each other and cannot deadlock (TEST_SEED=${SEED})`, async () => {
  // PostgreSQL would resolve a deadlock with an error, after which the application tries again. Here it would remain.
  const { server, writers, errors } = await createStorm(6, "10min", { batchLockTimeoutMs: 600_000 });
  await writers(24, 25);
  expect(errors()).toEqual([]);
  await expectExact(server);
});

test("an edit that adds a new tag cannot deadlock with an article that is published at the same time", async () => {
  const { server } = await createStorm(1, "10min", { batchLockTimeoutMs: 600_000 });
  const token = (await server.request("POST", "/api/users/login", { body: { user: FOUNDER } })).json.user.token;
  const founder: TestUser = { ...FOUNDER, username: "founder", token, refreshToken: "" };
  await server.publish(founder, { tagList: ["m"] });
  const { slug } = await server.publish(founder, { tagList: ["z"] });
  const hold = await server.sql.reserve();
  await hold`begin`;
  await hold`select from tags where name = 'm' for update`;
  // Holds "a", waits for "m", and needs "z" next.
  const article = { title: "t", description: "d", body: "b", tagList: ["z", "m", "a"] };
  const published = server.request("POST", "/api/articles", { token, body: { article } });
  await untilWaiting(server.sql, 1);
  const edited = server.request("PUT", `/api/articles/${slug}`, { token, body: { article: { tagList: ["a"] } } });
  await untilWaiting(server.sql, 2);
  await hold`commit`;
  hold.release();
  expect([(await published).status, (await edited).status]).toEqual([201, 200]);
  await expectExact(server);
});

test("the recounts find wrong counts", async () => {
  const server = await testServer();
  const anna = await server.register("anna");
  const { slug } = await server.publish(anna, { tagList: ["a"] });
  await server.request("POST", `/api/articles/${slug}/favorite`, { token: anna.token });
  await expectExact(server);
  for (const table of ["tags", "author_counts", "article_totals", "article_tags"]) {
    const column = table === "article_tags" ? "author_id" : "articles_count";
    const change = (by: number) => server.sql.unsafe(`update ${table} set ${column} = ${column} + ${by}`);
    await change(1);
    await expect(expectExact(server)).rejects.toThrow();
    await change(-1);
  }
  await server.sql`update favorites set is_published = false`;
  await expect(expectExact(server)).rejects.toThrow();
  await server.sql`update favorites set is_published = true`;
  await expectExact(server);
  await server.sql`update articles set favorites_count = 2`;
  await expect(expectExact(server)).rejects.toThrow();
});
