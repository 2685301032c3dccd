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
  article = await server.publish(anna);
});
afterAll(() => server.stop());

const path = (slug = article.slug) => `/api/articles/${slug}/comments`;
const add = (body: unknown, user = bert, slug = article.slug) =>
  server.request("POST", path(slug), { token: user.token, body: { comment: { body } } });
const list = async (slug = article.slug, viewer?: TestUser) =>
  (await server.request("GET", path(slug), { token: viewer?.token })).json.comments;
const remove = (id: number | string, user = bert, slug = article.slug) =>
  server.request("DELETE", `${path(slug)}/${id}`, { token: user.token });

describe("POST /api/articles/:slug/comments", () => {
  test("responds with 201 and the comment, and the next read contains it", async () => {
    const { status, json } = await add("Thank you so much!");
    expect(status).toBe(201);
    const { id, createdAt, updatedAt, ...rest } = json.comment;
    expect(rest).toEqual({
      body: "Thank you so much!",
      author: { username: "bert", bio: null, image: null, following: false },
    });
    expect(Number.isSafeInteger(id)).toBe(true);
    expect(createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(updatedAt).toBe(createdAt);
    expect(await list()).toEqual([json.comment]);
    expect((await remove(id)).status).toBe(204);
  });

  test("stores the text unchanged, up to 65,536 characters", async () => {
    const { slug } = await server.publish(anna);
    for (const body of [' "<b>\\\r\n\u2028🐉 ', "🐉".repeat(65_536)]) {
      const { status, json } = await add(body, bert, slug);
      expect([status, json.comment.body === body]).toEqual([201, true]);
      expect((await list(slug))[0]?.body === body).toBe(true);
    }
    const { status, json } = await add("x".repeat(65_537));
    expect([status, json.errors]).toEqual([422, { body: ["is too long (maximum is 65536 characters)"] }]);
  });

  test("rejects blank text", async () => {
    for (const body of [undefined, null, "", " \n ", "\u3164", "\u00ad\u200b", "\u202e\u2800 "]) {
      const { status, json } = await add(body);
      expect([status, json.errors]).toEqual([422, { body: ["can't be blank"] }]);
    }
    expect((await add(5)).json.errors).toEqual({ body: ["must be a string"] });
  });

  test("responds with 404 if there is no such article", async () => {
    const { status, json } = await add("c", bert, "no-such-article");
    expect([status, json.errors]).toEqual([404, { article: ["not found"] }]);
  });
});

describe("GET /api/articles/:slug/comments", () => {
  test("lists the comments of this article only, newest first", async () => {
    const [one, other] = [await server.publish(anna), await server.publish(anna)];
    expect(await list(one.slug)).toEqual([]);
    for (const body of ["1", "2", "3"]) await add(body, bert, one.slug);
    await add("other", bert, other.slug);
    expect((await list(one.slug)).map(({ body }) => body)).toEqual(["3", "2", "1"]);
    expect((await list(other.slug)).map(({ body }) => body)).toEqual(["other"]);
  });

  test("shows whom the viewer follows", async () => {
    const { slug } = await server.publish(anna);
    await add("of bert", bert, slug);
    await add("of anna", anna, slug);
    await server.request("POST", "/api/profiles/bert/follow", { token: anna.token });
    const following = async (viewer?: TestUser) => (await list(slug, viewer)).map(({ author }) => author.following);
    expect(await following(anna)).toEqual([false, true]);
    expect(await following(bert)).toEqual([false, false]);
    expect(await following()).toEqual([false, false]);
    await server.request("DELETE", "/api/profiles/bert/follow", { token: anna.token });
    expect(await following(anna)).toEqual([false, false]);
  });

  test("responds with 404 if there is no such article", async () => {
    const { status, json } = await server.request("GET", path("no-such-article"));
    expect([status, json.errors]).toEqual([404, { article: ["not found"] }]);
  });
});

describe("DELETE /api/articles/:slug/comments/:id", () => {
  test("responds with 204 and no body, and the comment is deleted", async () => {
    const { id } = (await add("to be deleted")).json.comment;
    const { status, text } = await remove(id);
    expect([status, text]).toEqual([204, ""]);
    expect((await list()).map((comment) => comment.id)).not.toContain(id);
    const again = await remove(id);
    expect([again.status, again.json.errors]).toEqual([404, { comment: ["not found"] }]);
  });

  test("responds with 403 to everyone but the comment's author, also to the article's author", async () => {
    const { id } = (await add("stays")).json.comment;
    const { status, json } = await remove(id, anna);
    expect([status, json.errors]).toEqual([403, { comment: ["forbidden"] }]);
    expect((await list()).map((comment) => comment.id)).toContain(id);
  });

  test("finds a comment only under its own article", async () => {
    const other = await server.publish(anna);
    const { id } = (await add("here")).json.comment;
    const elsewhere = await remove(id, bert, other.slug);
    expect([elsewhere.status, elsewhere.json.errors]).toEqual([404, { comment: ["not found"] }]);
    const nowhere = await remove(id, bert, "no-such-article");
    expect([nowhere.status, nowhere.json.errors]).toEqual([404, { article: ["not found"] }]);
    expect((await list()).map((comment) => comment.id)).toContain(id);
  });

  test("responds with 404 to what is not the number of a comment", async () => {
    for (const id of ["0", "-1", "abc", "1.0", "1e3", "999999999999999999", "9223372036854775808", "9".repeat(40)]) {
      const { status, json } = await remove(id);
      expect([id, status, json.errors]).toEqual([id, 404, { comment: ["not found"] }]);
    }
  });
});
