import { beforeAll, describe, expect, test } from "bun:test";
import { type Answer, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { addUsers } from "../support/people.ts";

let server: TestServer;
let anna: TestUser;
let crowd: TestUser[];
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  crowd = await addUsers(
    server,
    anna,
    Array.from({ length: 100 }, (_, i) => `reader${i}`),
  );
});

/** The answers of so many requests that are under way at once. */
const atOnce = (times: number, request: (i: number) => Promise<Answer>): Promise<Answer[]> =>
  Promise.all(Array.from({ length: times }, (_, i) => request(i)));

/** How often each status came. */
function statuses(answers: Answer[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

const as = (user: TestUser, method: string, path: string, body?: unknown) =>
  server.request(method, path, { token: user.token, body });
const person = (i: number) => crowd[i % crowd.length] as TestUser;
const article = (title: string) => ({ article: { title, description: "d", body: "b", tagList: ["at once"] } });

describe("a hundred at once", () => {
  test("of the same title are a hundred articles", async () => {
    const answers = await atOnce(100, (i) => as(person(i % 7), "POST", "/api/articles", article("The same title")));
    expect(statuses(answers)).toEqual({ 201: 100 });
    const slugs = new Set(answers.map(({ json }) => json.article.slug));
    expect(slugs.size).toBe(100);
    expect(slugs).toContain("the-same-title");
    const list = await server.request("GET", "/api/articles?tag=at%20once&limit=100");
    expect(new Set(list.json.articles.map(({ slug }) => slug))).toEqual(slugs);
    expect(list.json.articlesCount).toBe(100);
  });

  test("of the same favourite are one, and every answer says so", async () => {
    const { slug } = await server.publish(anna);
    const path = `/api/articles/${slug}/favorite`;
    const given = await atOnce(100, () => as(person(0), "POST", path));
    expect(statuses(given)).toEqual({ 200: 100 });
    for (const { json } of given) expect(json.article).toMatchObject({ favorited: true, favoritesCount: 1 });
    expect((await server.request("GET", `/api/articles/${slug}`)).json.article.favoritesCount).toBe(1);

    const taken = await atOnce(100, () => as(person(0), "DELETE", path));
    expect(statuses(taken)).toEqual({ 200: 100 });
    for (const { json } of taken) expect(json.article).toMatchObject({ favorited: false, favoritesCount: 0 });
    expect((await server.request("GET", `/api/articles/${slug}`)).json.article.favoritesCount).toBe(0);
  });

  test("of a hundred readers' favourites are a hundred, each counted in the answer that gave it", async () => {
    const { slug } = await server.publish(anna);
    const given = await atOnce(100, (i) => as(person(i), "POST", `/api/articles/${slug}/favorite`));
    expect(statuses(given)).toEqual({ 200: 100 });
    const counts = given.map(({ json }) => json.article.favoritesCount).sort((a, b) => a - b);
    expect(counts).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    const taken = await atOnce(100, (i) => as(person(i), "DELETE", `/api/articles/${slug}/favorite`));
    expect(taken.map(({ json }) => json.article.favoritesCount).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
  });

  test("of the same follow are one", async () => {
    const rows = async () =>
      (
        await server.sql`select count(*)::integer as n from follows f join users u on u.id = f.follower_id
                         where u.username = ${person(1).username}`
      )[0].n;
    const given = await atOnce(100, () => as(person(1), "POST", "/api/profiles/anna/follow"));
    expect(statuses(given)).toEqual({ 200: 100 });
    for (const { json } of given) expect(json.profile.following).toBe(true);
    expect(await rows()).toBe(1);
    const taken = await atOnce(100, () => as(person(1), "DELETE", "/api/profiles/anna/follow"));
    expect(statuses(taken)).toEqual({ 200: 100 });
    expect(await rows()).toBe(0);
  });

  test("of the same new title are a hundred edits with paths of their own", async () => {
    const slugs = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => (await server.publish(person(i), { title: `Old ${i}` })).slug),
    );
    const answers = await atOnce(100, (i) =>
      as(person(i), "PUT", `/api/articles/${slugs[i]}`, { article: { title: "New" } }),
    );
    expect(statuses(answers)).toEqual({ 200: 100 });
    const after = answers.map(({ json }) => json.article.slug);
    expect(new Set(after).size).toBe(100);
    expect(after).toContain("new");
    for (const slug of after) expect(slug).toMatch(/^new(-[0-9a-z]{8})?$/);
  });

  test("of edits of one article all succeed, and each moves updatedAt", async () => {
    const { slug } = await server.publish(anna);
    const answers = await atOnce(100, (i) => as(anna, "PUT", `/api/articles/${slug}`, { article: { body: `${i}` } }));
    expect(statuses(answers)).toEqual({ 200: 100 });
    const times = new Set(answers.map(({ json }) => json.article.updatedAt));
    expect(times.size).toBe(100);
    const last = (await server.request("GET", `/api/articles/${slug}`)).json.article;
    expect(last.updatedAt).toBe([...times].sort().at(-1) as string);
  });

  test("of deletions of one article are one", async () => {
    const { slug } = await server.publish(anna);
    expect(statuses(await atOnce(100, () => as(anna, "DELETE", `/api/articles/${slug}`)))).toEqual({ 204: 1, 404: 99 });
  });

  test("of deletions of one comment are one", async () => {
    const { slug } = await server.publish(anna);
    const path = `/api/articles/${slug}/comments`;
    const { id } = (await as(anna, "POST", path, { comment: { body: "c" } })).json.comment;
    expect(statuses(await atOnce(100, () => as(anna, "DELETE", `${path}/${id}`)))).toEqual({ 204: 1, 404: 99 });
  });
});

describe("registrations at once", () => {
  const register = (username: string, email: string) =>
    server.request("POST", "/api/users", { body: { user: { username, email, password: "correct horse" } } });
  const expectOne = (answers: Answer[], errors: Record<string, string[]>) => {
    expect(statuses(answers)).toEqual({ 201: 1, 409: answers.length - 1 });
    for (const { status, json } of answers) if (status === 409) expect(json.errors).toEqual(errors);
  };
  const taken = ["has already been taken"];

  test("of one username are one account", async () => {
    expectOne(await atOnce(8, (i) => register(i % 2 ? "dora" : "DORA", `dora${i}@example.com`)), { username: taken });
  });

  test("of one email are one account", async () => {
    expectOne(await atOnce(8, (i) => register(`emil${i}`, i % 2 ? "emil@example.com" : "EMIL@example.com")), {
      email: taken,
    });
  });

  test("of one person are one account", async () => {
    expectOne(await atOnce(8, () => register("frida", "frida@example.com")), { username: taken, email: taken });
  });

  test("and changes of name at once leave the name to one", async () => {
    const answers = await atOnce(50, (i) => as(person(i), "PUT", "/api/user", { user: { username: "gerda" } }));
    expect(statuses(answers)).toEqual({ 200: 1, 409: 49 });
  });
});

test("a favourite that is given and taken back at once is counted as the answers say", async () => {
  const { slug } = await server.publish(anna);
  const path = `/api/articles/${slug}/favorite`;
  // Both wait for the article, the one that gives before the one that takes back.
  const hold = await server.sql.reserve();
  await hold`begin`;
  await hold`select from articles where slug = ${slug} for update`;
  const given = as(person(0), "POST", path);
  await Bun.sleep(200);
  const taken = as(person(0), "DELETE", path);
  await Bun.sleep(200);
  await hold`commit`;
  hold.release();
  const answers = (await Promise.all([given, taken])).map(({ json }) => json.article);
  expect(answers.map(({ favorited, favoritesCount }) => [favorited, favoritesCount])).toEqual([
    [true, 1],
    [false, 0],
  ]);
  const { favorited, favoritesCount } = (await as(person(0), "GET", `/api/articles/${slug}`)).json.article;
  expect([favorited, favoritesCount]).toEqual([false, 0]);
});

test("favourites, comments, edits and readings of an article that is deleted meanwhile find it or do not", async () => {
  for (let round = 0; round < 5; round++) {
    const { slug } = await server.publish(anna, { tagList: ["meanwhile"] });
    const path = `/api/articles/${slug}`;
    const answers = await atOnce(60, (i) => {
      if (i === 30) return as(anna, "DELETE", path);
      if (i % 5 === 0) return as(person(i), "POST", `${path}/favorite`);
      if (i % 5 === 1) return as(person(i), "POST", `${path}/comments`, { comment: { body: "c" } });
      if (i % 5 === 2) return as(anna, "PUT", path, { article: { tagList: [`meanwhile ${i}`] } });
      if (i % 5 === 3) return as(person(i), "DELETE", `${path}/favorite`);
      return as(person(i), "GET", path);
    });
    expect(answers[30]?.status).toBe(204);
    for (const { status, text } of answers)
      expect([status, [200, 201, 204, 404].includes(status) || text]).toEqual([status, true]);
    expect((await server.request("GET", path)).status).toBe(404);
  }
  const { json } = await server.request("GET", "/api/tags");
  expect(json.tags.filter((tag) => tag.startsWith("meanwhile"))).toEqual([]);
  const [left] = await server.sql`select count(*)::integer as n from comments c where not exists (
    select from articles a where a.id = c.article_id)`;
  expect(left.n).toBe(0);
});
