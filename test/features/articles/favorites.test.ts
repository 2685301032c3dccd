import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
let article: ArticleJson;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
  article = await server.publish(anna, { tagList: ["t"] });
});
afterAll(() => server.stop());

const favorite = (slug: string, user: TestUser, body?: unknown) =>
  server.request("POST", `/api/articles/${slug}/favorite`, { token: user.token, body });
const unfavorite = (slug: string, user: TestUser, body?: unknown) =>
  server.request("DELETE", `/api/articles/${slug}/favorite`, { token: user.token, body });
const read = async (slug: string, user?: TestUser) =>
  (await server.request("GET", `/api/articles/${slug}`, { token: user?.token })).json.article;

describe("a favourite", () => {
  test("is returned with the whole article, and counts once however often it is added", async () => {
    for (let i = 0; i < 2; i++) {
      const { status, json } = await favorite(article.slug, bert);
      expect([status, json.article]).toEqual([200, { ...article, favorited: true, favoritesCount: 1 }]);
      expect(await read(article.slug, bert)).toEqual(json.article);
      expect(await read(article.slug)).toEqual({ ...article, favorited: false, favoritesCount: 1 });
    }
    const second = await favorite(article.slug, anna);
    expect(second.json.article).toMatchObject({ favorited: true, favoritesCount: 2 });
    for (let i = 0; i < 2; i++) {
      const { status, json } = await unfavorite(article.slug, bert);
      expect([status, json.article]).toEqual([200, { ...article, favorited: false, favoritesCount: 1 }]);
    }
    expect((await unfavorite(article.slug, anna)).json.article).toEqual(article);
    expect(await read(article.slug, anna)).toEqual(article);
  });

  test("belongs to one article and one reader: other articles and readers do not show it", async () => {
    const other = await server.publish(bert);
    await favorite(article.slug, bert);
    const flags = async (user: TestUser) => [
      (await read(article.slug, user)).favorited,
      (await read(other.slug, user)).favorited,
      ...(await server.request("GET", "/api/articles", { token: user.token })).json.articles.map((a) => a.favorited),
    ];
    expect(await flags(bert)).toEqual([true, false, false, true]);
    expect(await flags(anna)).toEqual([false, false, false, false]);
    await unfavorite(article.slug, bert);
    expect(await flags(bert)).toEqual([false, false, false, false]);
  });

  test("shows in its response whether the reader follows the author", async () => {
    await server.request("POST", "/api/profiles/anna/follow", { token: bert.token });
    expect((await favorite(article.slug, bert)).json.article.author.following).toBe(true);
    expect((await unfavorite(article.slug, bert)).json.article.author.following).toBe(true);
    await server.request("DELETE", "/api/profiles/anna/follow", { token: bert.token });
    expect((await favorite(article.slug, bert)).json.article.author.following).toBe(false);
    await unfavorite(article.slug, bert);
  });

  test("is in the reader's list in the very next read", async () => {
    const count = async () => (await server.request("GET", "/api/articles?favorited=bert")).json.articlesCount;
    await favorite(article.slug, bert);
    expect(await count()).toBe(1);
    await unfavorite(article.slug, bert);
    expect(await count()).toBe(0);
  });

  test("changes neither updatedAt nor the version", async () => {
    await favorite(article.slug, bert);
    await unfavorite(article.slug, bert);
    expect((await read(article.slug)).updatedAt).toBe(article.updatedAt);
    const [row] = await server.sql`select version from articles where slug = ${article.slug}`;
    expect(row.version).toBe(1);
  });

  test("stays with the article when its slug changes", async () => {
    const { slug } = await server.publish(anna, { title: "Old path" });
    await favorite(slug, bert);
    await server.request("PUT", `/api/articles/${slug}`, {
      token: anna.token,
      body: { article: { title: "New path" } },
    });
    expect(await read("new-path", bert)).toMatchObject({ favorited: true, favoritesCount: 1 });
    expect((await favorite(slug, bert)).status).toBe(404);
    await unfavorite("new-path", bert);
  });

  test("accepts no body, an empty body and {}", async () => {
    for (const body of [undefined, "", {}]) {
      expect((await favorite(article.slug, bert, body)).status).toBe(200);
      expect((await unfavorite(article.slug, bert, body)).status).toBe(200);
    }
  });

  test("of an unknown article is 404", async () => {
    for (const response of [await favorite("no-such-article", anna), await unfavorite("no-such-article", anna)]) {
      expect([response.status, response.json.errors]).toEqual([404, { article: ["not found"] }]);
    }
  });
});
