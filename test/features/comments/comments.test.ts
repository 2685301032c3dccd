import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { statements } from "../../../src/db/statements.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
let cleo: TestUser;
let article: ArticleJson;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert, cleo] = (await addUsers(server, anna, ["bert", "cleo"])) as [TestUser, TestUser];
  article = await server.publish(anna);
});
afterAll(() => server.stop());

/** Comments by SQL, of the same millisecond. */
const addComments = (slug: string, count: number, body: string) =>
  server.sql`
    insert into comments (article_id, author_id, body)
    select a.id, a.author_id, ${body} from articles a, generate_series(1, ${count}) where a.slug = ${slug}`;
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

  test("stores the text unchanged, up to 10,000 characters in any form of JSON", async () => {
    const { slug } = await server.publish(anna);
    for (const body of [' "<b>\\\r\n\u2028🐉 ', "🐉".repeat(10_000)]) {
      const { status, json } = await add(body, bert, slug);
      expect([status, json.comment.body === body]).toEqual([201, true]);
      expect((await list(slug))[0]?.body === body).toBe(true);
    }
    const escaped = await server.request("POST", path(slug), {
      token: bert.token,
      body: `{"comment":{"body":"${"\\ud83d\\udc09".repeat(10_000)}"}}`,
    });
    expect([escaped.status, escaped.json.comment.body === "🐉".repeat(10_000)]).toEqual([201, true]);
    const { status, json } = await add("x".repeat(10_001));
    expect([status, json.errors]).toEqual([422, { body: ["is too long (maximum is 10000 characters)"] }]);
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

  test("returns at most 100, and the others by cursor, each once, while comments are added and deleted", async () => {
    const { slug } = await server.publish(anna);
    await addComments(slug, 205, "x");
    const first = await server.request("GET", path(slug));
    expect(first.json.comments.length).toBe(100);
    expect((await server.request("GET", `${path(slug)}?limit=1000`)).json.comments.length).toBe(100);
    const seen = first.json.comments.map(({ id }) => id);
    let { nextCursor } = first.json;
    expect(first.headers.get("Link")).toBe(`<${path(slug)}?cursor=${nextCursor}>; rel="next"`);
    // The page ends at this comment, whether it still exists or not.
    await remove(seen.at(-1) as number);
    await add("newer", bert, slug);
    while (nextCursor !== null) {
      const page = await server.request("GET", `${path(slug)}?limit=50&cursor=${nextCursor}`);
      seen.push(...page.json.comments.map(({ id }) => id));
      expect(page.headers.has("Link")).toBe(page.json.nextCursor !== null);
      nextCursor = page.json.nextCursor;
    }
    expect(seen.length).toBe(205);
    expect(new Set(seen).size).toBe(205);
    expect(seen.toSorted((a, b) => b - a)).toEqual(seen);
  });

  test("ends a page at 1 MiB of text, and the cursor leads to the rest", async () => {
    const { slug } = await server.publish(anna);
    await addComments(slug, 60, "🐉".repeat(10_000));
    const sizes: number[] = [];
    let query = "";
    do {
      const { json } = await server.request("GET", `${path(slug)}${query}`);
      sizes.push(json.comments.length);
      query = json.nextCursor === null ? "" : `?cursor=${json.nextCursor}`;
    } while (query !== "");
    // 40,000 bytes each.
    expect(sizes).toEqual([26, 26, 8]);
    expect((await server.request("GET", `${path(slug)}?limit=1`)).json.comments.length).toBe(1);
  });

  test("returns a hundred long comments of one byte a character", async () => {
    const { slug } = await server.publish(anna);
    await addComments(slug, 504, "x".repeat(10_000));
    const { status, json, text } = await server.request("GET", path(slug));
    expect([status, json.comments.length, text.length < 1.1 * 1024 * 1024]).toEqual([200, 100, true]);
  });

  test("reads no more of an article's comments than a page has", async () => {
    const { slug } = await server.publish(anna);
    await addComments(slug, 2_000, "x");
    const { text } = statements.get("comments_anonymous") as { text: string };
    await server.sql.unsafe("analyze comments");
    const rows = await server.sql.unsafe(`explain (analyze, format json) ${text}`, [
      slug,
      "infinity",
      "0",
      100,
      65_536,
    ]);
    const plan = JSON.stringify(rows[0]["QUERY PLAN"]);
    expect(plan).toContain("comments_article_id_idx");
    const read = [...plan.matchAll(/"Actual Rows":([0-9.]+)/g)].map(([, count]) => Number(count));
    expect(Math.max(...read)).toBe(101);
  });

  test("rejects a cursor of another list, and anything else that is none", async () => {
    const { slug } = await server.publish(anna);
    await server.publish(anna);
    const ofArticles = (await server.request("GET", "/api/articles?limit=1")).json.nextCursor;
    for (const cursor of [ofArticles, "", "x", "W10"]) {
      const { status, json } = await server.request("GET", `${path(slug)}?cursor=${cursor}`);
      expect([cursor, status, json.errors]).toEqual([cursor, 422, { cursor: ["is invalid"] }]);
    }
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

  test("is allowed to the author of the article", async () => {
    const { id } = (await add("to be deleted by anna")).json.comment;
    expect((await remove(id, anna)).status).toBe(204);
    expect((await list()).map((comment) => comment.id)).not.toContain(id);
  });

  test("responds with 403 to everyone but the authors of the comment and of the article", async () => {
    const { id } = (await add("stays")).json.comment;
    const { status, json } = await remove(id, cleo);
    expect([status, json.errors]).toEqual([403, { comment: ["forbidden"] }]);
    // An article of one's own gives no right to the comments on others.
    const own = await server.publish(cleo);
    expect((await remove(id, cleo, own.slug)).status).toBe(404);
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
