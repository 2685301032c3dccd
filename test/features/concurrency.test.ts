import { beforeAll, describe, expect, test } from "bun:test";
import { type TestResponse, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { untilWaiting } from "../support/locks.ts";
import { addUsers } from "../support/people.ts";

let server: TestServer;
let anna: TestUser;
let crowd: TestUser[];
beforeAll(async () => {
  // So that writes that wait for a lock get it in the order in which they came.
  server = await testServer({ limits: { batchLockTimeoutMs: 60_000 } });
  anna = await server.register("anna");
  crowd = await addUsers(
    server,
    anna,
    Array.from({ length: 100 }, (_, i) => `reader${i}`),
  );
});

/** The responses to this many requests in flight at once. */
const atOnce = (times: number, request: (i: number) => Promise<TestResponse>): Promise<TestResponse[]> =>
  Promise.all(Array.from({ length: times }, (_, i) => request(i)));

/** How often each status occurs. */
function statuses(responses: TestResponse[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of responses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

const as = (user: TestUser, method: string, path: string, body?: unknown) =>
  server.request(method, path, { token: user.token, body });
const person = (i: number) => crowd[i % crowd.length] as TestUser;
const article = (title: string) => ({ article: { title, description: "d", body: "b", tagList: ["at once"] } });

describe("a hundred at once", () => {
  test("publications with the same title are a hundred articles", async () => {
    const responses = await atOnce(100, (i) => as(person(i % 7), "POST", "/api/articles", article("The same title")));
    expect(statuses(responses)).toEqual({ 201: 100 });
    const slugs = new Set(responses.map(({ json }) => json.article.slug));
    expect(slugs.size).toBe(100);
    expect(slugs).toContain("the-same-title");
    const list = await server.request("GET", "/api/articles?tag=at%20once&limit=100");
    expect(new Set(list.json.articles.map(({ slug }) => slug))).toEqual(slugs);
    expect(list.json.articlesCount).toBe(100);
  });

  test("additions of the same favourite are one, and every response shows that", async () => {
    const { slug } = await server.publish(anna);
    const path = `/api/articles/${slug}/favorite`;
    const added = await atOnce(100, () => as(person(0), "POST", path));
    expect(statuses(added)).toEqual({ 200: 100 });
    for (const { json } of added) expect(json.article).toMatchObject({ favorited: true, favoritesCount: 1 });
    expect((await server.request("GET", `/api/articles/${slug}`)).json.article.favoritesCount).toBe(1);

    const removed = await atOnce(100, () => as(person(0), "DELETE", path));
    expect(statuses(removed)).toEqual({ 200: 100 });
    for (const { json } of removed) expect(json.article).toMatchObject({ favorited: false, favoritesCount: 0 });
    expect((await server.request("GET", `/api/articles/${slug}`)).json.article.favoritesCount).toBe(0);
  });

  test("favourites by different readers are a hundred, and each response counts its own and those before it", async () => {
    const { slug } = await server.publish(anna);
    // Those that are written together show the same number: that of the favourites up to and including them.
    const countsOf = async (method: string) => {
      const responses = await atOnce(100, (i) => as(person(i), method, `/api/articles/${slug}/favorite`));
      expect(statuses(responses)).toEqual({ 200: 100 });
      return responses.map(({ json }) => json.article.favoritesCount);
    };
    const added = await countsOf("POST");
    for (const count of added) expect(added.filter((other) => other <= count)).toHaveLength(count);
    const left = await countsOf("DELETE");
    for (const count of left) expect(left.filter((other) => other >= count)).toHaveLength(100 - count);
  });

  test("follows of the same author are one", async () => {
    const rows = async () =>
      (
        await server.sql`select count(*)::integer as n from follows f join users u on u.id = f.follower_id
                         where u.username = ${person(1).username}`
      )[0].n;
    const added = await atOnce(100, () => as(person(1), "POST", "/api/profiles/anna/follow"));
    expect(statuses(added)).toEqual({ 200: 100 });
    for (const { json } of added) expect(json.profile.following).toBe(true);
    expect(await rows()).toBe(1);
    const removed = await atOnce(100, () => as(person(1), "DELETE", "/api/profiles/anna/follow"));
    expect(statuses(removed)).toEqual({ 200: 100 });
    expect(await rows()).toBe(0);
  });

  test("edits to the same new title have a hundred different slugs", async () => {
    const slugs = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => (await server.publish(person(i), { title: `Old ${i}` })).slug),
    );
    const responses = await atOnce(100, (i) =>
      as(person(i), "PUT", `/api/articles/${slugs[i]}`, { article: { title: "New" } }),
    );
    expect(statuses(responses)).toEqual({ 200: 100 });
    const after = responses.map(({ json }) => json.article.slug);
    expect(new Set(after).size).toBe(100);
    expect(after).toContain("new");
    for (const slug of after) expect(slug).toMatch(/^new(-[0-9a-z]{8})?$/);
  });

  test("edits of one article all succeed, and each raises updatedAt and the version", async () => {
    const { slug } = await server.publish(anna);
    const responses = await atOnce(100, (i) => as(anna, "PUT", `/api/articles/${slug}`, { article: { body: `${i}` } }));
    expect(statuses(responses)).toEqual({ 200: 100 });
    const times = new Set(responses.map(({ json }) => json.article.updatedAt));
    expect(times.size).toBe(100);
    const [row] = await server.sql`select version from articles where slug = ${slug}`;
    expect(row.version).toBe(101);
    const last = (await server.request("GET", `/api/articles/${slug}`)).json.article;
    expect(last.updatedAt).toBe([...times].sort().at(-1) as string);
  });

  test("deletions of one article are one", async () => {
    const { slug } = await server.publish(anna);
    expect(statuses(await atOnce(100, () => as(anna, "DELETE", `/api/articles/${slug}`)))).toEqual({ 204: 1, 404: 99 });
  });

  test("deletions of one comment are one", async () => {
    const { slug } = await server.publish(anna);
    const path = `/api/articles/${slug}/comments`;
    const { id } = (await as(anna, "POST", path, { comment: { body: "c" } })).json.comment;
    expect(statuses(await atOnce(100, () => as(anna, "DELETE", `${path}/${id}`)))).toEqual({ 204: 1, 404: 99 });
  });
});

describe("registrations at once", () => {
  const register = (username: string, email: string) =>
    server.request("POST", "/api/users", { body: { user: { username, email, password: "correct horse" } } });
  const expectOne = (responses: TestResponse[], errors: Record<string, string[]>) => {
    expect(statuses(responses)).toEqual({ 201: 1, 409: responses.length - 1 });
    for (const { status, json } of responses) if (status === 409) expect(json.errors).toEqual(errors);
  };
  const taken = ["has already been taken"];

  test("with one username create one account", async () => {
    expectOne(await atOnce(8, (i) => register(i % 2 ? "dora" : "DORA", `dora${i}@example.com`)), { username: taken });
  });

  test("with one email create one account", async () => {
    expectOne(await atOnce(8, (i) => register(`emil${i}`, i % 2 ? "emil@example.com" : "EMIL@example.com")), {
      email: taken,
    });
  });

  test("of one person create one account", async () => {
    expectOne(await atOnce(8, () => register("frida", "frida@example.com")), { username: taken, email: taken });
  });

  test("and changes to the same username succeed for one account only", async () => {
    const responses = await atOnce(50, (i) => as(person(i), "PUT", "/api/user", { user: { username: "gerda" } }));
    expect(statuses(responses)).toEqual({ 200: 1, 409: 49 });
  });
});

test("a favourite that is added and removed at once is counted as the responses show", async () => {
  const { slug } = await server.publish(anna);
  const path = `/api/articles/${slug}/favorite`;
  // Both wait for the lock on the article, the addition first.
  const hold = await server.sql.reserve();
  await hold`begin`;
  await hold`select from articles where slug = ${slug} for update`;
  const added = as(person(0), "POST", path);
  await untilWaiting(server.sql, 1);
  const removed = as(person(0), "DELETE", path);
  await untilWaiting(server.sql, 2);
  await hold`commit`;
  hold.release();
  const responses = (await Promise.all([added, removed])).map(({ json }) => json.article);
  expect(responses.map(({ favorited, favoritesCount }) => [favorited, favoritesCount])).toEqual([
    [true, 1],
    [false, 0],
  ]);
  const { favorited, favoritesCount } = (await as(person(0), "GET", `/api/articles/${slug}`)).json.article;
  expect([favorited, favoritesCount]).toEqual([false, 0]);
});

test("favourites, comments, edits and reads of an article that is deleted at the same time succeed or are 404", async () => {
  for (let round = 0; round < 5; round++) {
    const { slug } = await server.publish(anna, { tagList: ["meanwhile"] });
    const path = `/api/articles/${slug}`;
    const responses = await atOnce(60, (i) => {
      if (i === 30) return as(anna, "DELETE", path);
      if (i % 5 === 0) return as(person(i), "POST", `${path}/favorite`);
      if (i % 5 === 1) return as(person(i), "POST", `${path}/comments`, { comment: { body: "c" } });
      if (i % 5 === 2) return as(anna, "PUT", path, { article: { tagList: [`meanwhile ${i}`] } });
      if (i % 5 === 3) return as(person(i), "DELETE", `${path}/favorite`);
      return as(person(i), "GET", path);
    });
    expect(responses[30]?.status).toBe(204);
    for (const { status, text } of responses)
      expect([status, [200, 201, 204, 404].includes(status) || text]).toEqual([status, true]);
    expect((await server.request("GET", path)).status).toBe(404);
  }
  const { json } = await server.request("GET", "/api/tags");
  expect(json.tags.filter((tag) => tag.startsWith("meanwhile"))).toEqual([]);
  const [left] = await server.sql`select count(*)::integer as n from comments c where not exists (
    select from articles a where a.id = c.article_id)`;
  expect(left.n).toBe(0);
});
