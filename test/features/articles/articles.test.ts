import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
});
afterAll(() => server.stop());

const WHOLE = { title: "How to train your dragon", description: "Ever wonder how?", body: "You have to believe" };
const post = (article: unknown, token = anna.token) =>
  server.request("POST", "/api/articles", { token, body: { article } });
const put = (slug: string, article: unknown, token = anna.token) =>
  server.request("PUT", `/api/articles/${slug}`, { token, body: { article } });
const read = (slug: string, token?: string) => server.request("GET", `/api/articles/${slug}`, { token });

describe("POST /api/articles", () => {
  test("answers 201 with the whole article", async () => {
    const before = Date.now();
    const { status, json } = await post({ ...WHOLE, tagList: ["dragons", "training"] });
    expect(status).toBe(201);
    const { createdAt, updatedAt, ...rest } = json.article;
    expect(rest).toEqual({
      slug: "how-to-train-your-dragon",
      ...WHOLE,
      tagList: ["dragons", "training"],
      favorited: false,
      favoritesCount: 0,
      author: { username: "anna", bio: null, image: null, following: false },
    });
    expect(createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(updatedAt).toBe(createdAt);
    // The same machine's clock, or one near it.
    expect(Math.abs(Date.parse(createdAt) - before)).toBeLessThan(60_000);
    expect((await read(rest.slug)).json.article).toEqual(json.article);
  });

  test("is found in every list of the very next read", async () => {
    const { json } = await post({ ...WHOLE, tagList: ["very next"] });
    for (const filter of ["", "?tag=very%20next", "?author=anna"]) {
      const list = await server.request("GET", `/api/articles${filter}`);
      expect(list.json.articles[0]?.slug).toBe(json.article.slug);
    }
    expect((await server.request("GET", "/api/tags")).json.tags).toContain("very next");
  });

  test("names every fault of the body at once", async () => {
    const { status, json } = await post({
      title: "x".repeat(256),
      description: 5,
      tagList: Array.from({ length: 21 }, (_, i) => `${i}${"x".repeat(50)}`),
    });
    expect(status).toBe(422);
    expect(json.errors).toEqual({
      title: ["is too long (maximum is 255 characters)"],
      description: ["must be a string"],
      body: ["can't be blank"],
      tagList: ["has too many tags (maximum is 20)", "has a tag that is too long (maximum is 50 characters)"],
    });
  });

  test("says of each missing, null, empty or blank field that it can't be blank", async () => {
    const blank = ["can't be blank"];
    for (const value of [undefined, null, "", " \n\t\u00a0"]) {
      const { status, json } = await post({ title: value, description: value, body: value });
      expect(status).toBe(422);
      expect(json.errors).toEqual({ title: blank, description: blank, body: blank });
    }
  });

  test("takes titles of 255 characters, descriptions of 1,000 and bodies of 1 MiB, and keeps them to the letter", async () => {
    const whole = { title: "🐉".repeat(255), description: "ü".repeat(1_000), body: "€".repeat(349_525) };
    expect(Buffer.byteLength(whole.body)).toBe(1024 * 1024 - 1);
    const { status, json } = await post({ ...whole, body: `${whole.body}x` });
    expect(status).toBe(201);
    expect(json.article).toMatchObject({ title: whole.title, description: whole.description });
    expect((await read(json.article.slug)).json.article.body === `${whole.body}x`).toBe(true);

    const tooMuch = await post({
      title: "🐉".repeat(256),
      description: "ü".repeat(1_001),
      body: `${whole.body}xx`,
    });
    expect(tooMuch.status).toBe(422);
    expect(tooMuch.json.errors).toEqual({
      title: ["is too long (maximum is 255 characters)"],
      description: ["is too long (maximum is 1000 characters)"],
      body: ["is too long (maximum is 1 MiB)"],
    });
  });

  test("takes a body of 1 MiB whose JSON is twice as long", async () => {
    const body = '"'.repeat(1024 * 1024 - 100);
    const { status, json } = await post({ ...WHOLE, body });
    expect([status, json.article.body === body]).toEqual([201, true]);
  });

  test("keeps every text to the letter, white space and markup included", async () => {
    const odd = {
      title: " <b>\"Title\"</b> \\ & 'ever' \u2028 ",
      description: "\tline\r\nline\b\f\u0001 {{}} $1 '; drop table users; --",
      body: '  # Markdown\n\n<script>alert("x")</script>\u2029🐉 \ufeff ',
    };
    const { json } = await post({ ...odd, tagList: ['"', "\\", "{a,b}", "null", "NULL", "a\nb", "<i>", "'"] });
    expect(json.article).toMatchObject({
      ...odd,
      tagList: ['"', "\\", "{a,b}", "null", "NULL", "a\nb", "<i>", "'"],
    });
    expect((await read(json.article.slug)).json.article).toEqual(json.article);
    const { body: _, ...inList } = json.article;
    expect((await server.request("GET", "/api/articles?limit=1")).json.articles[0]).toEqual(inList as ArticleJson);
  });

  test("gives articles of one title different paths", async () => {
    const slugs = [];
    for (let i = 0; i < 3; i++) slugs.push((await post({ ...WHOLE, title: "The same title" })).json.article.slug);
    expect(new Set(slugs).size).toBe(3);
    for (const slug of slugs) expect(slug).toMatch(/^the-same-title(-[0-9a-z]{8})?$/);
  });

  test("gives none the path of the feed", async () => {
    const { status, json } = await post({ ...WHOLE, title: "Feed" });
    expect(status).toBe(201);
    expect(json.article.slug).toMatch(/^feed-[0-9a-z]{8}$/);
    expect((await read(json.article.slug)).json.article.title).toBe("Feed");
    const renamed = await put((await server.publish(anna)).slug, { title: "FEED!" });
    expect(renamed.json.article.slug).toMatch(/^feed-[0-9a-z]{8}$/);
  });
});

describe("a tag list", () => {
  test("keeps the order, trims, and drops what is blank or there already", async () => {
    const { json } = await post({ ...WHOLE, tagList: ["b", " a\t", "b ", "", "  ", "A", "a", "c d"] });
    expect(json.article.tagList).toEqual(["b", "a", "A", "c d"]);
  });

  test("has at most 20 tags of at most 50 characters, counted after that", async () => {
    const twenty = Array.from({ length: 20 }, (_, i) => `tag ${i}`);
    expect((await post({ ...WHOLE, tagList: [...twenty, "tag 0 ", ""] })).json.article.tagList).toEqual(twenty);
    const long = "🐉".repeat(50);
    expect((await post({ ...WHOLE, tagList: [` ${long} `] })).json.article.tagList).toEqual([long]);

    const many = await post({ ...WHOLE, tagList: [...twenty, "one more"] });
    expect([many.status, many.json.errors]).toEqual([422, { tagList: ["has too many tags (maximum is 20)"] }]);
    const tooLong = await post({ ...WHOLE, tagList: [`${long}x`] });
    expect([tooLong.status, tooLong.json.errors]).toEqual([
      422,
      { tagList: ["has a tag that is too long (maximum is 50 characters)"] },
    ]);
  });

  test("is a list of strings, or absent", async () => {
    for (const tagList of [null, "a", {}, [1], ["a", null], [["a"]]]) {
      const { status, json } = await post({ ...WHOLE, tagList });
      expect([tagList, status, json.errors]).toEqual([tagList, 422, { tagList: ["must be a list of strings"] }]);
    }
    expect((await post(WHOLE)).json.article.tagList).toEqual([]);
    expect((await post({ ...WHOLE, tagList: [] })).json.article.tagList).toEqual([]);
  });
});

describe("GET /api/articles/:slug", () => {
  test("answers 404 where there is none", async () => {
    const { status, json } = await read("no-such-article");
    expect([status, json.errors]).toEqual([404, { article: ["not found"] }]);
  });

  test("knows each viewer's favourite and follow, and nobody's", async () => {
    const { slug } = await server.publish(anna);
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: bert.token });
    await server.request("POST", "/api/profiles/anna/follow", { token: bert.token });
    const seen = async (token?: string) => {
      const { favorited, favoritesCount, author } = (await read(slug, token)).json.article;
      return [favorited, favoritesCount, author.following];
    };
    expect(await seen(bert.token)).toEqual([true, 1, true]);
    expect(await seen(anna.token)).toEqual([false, 1, false]);
    expect(await seen()).toEqual([false, 1, false]);
    // An edit answers with them too.
    expect((await put(slug, { body: "b" })).json.article).toMatchObject({ favorited: false, favoritesCount: 1 });
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: anna.token });
    expect((await put(slug, { body: "c" })).json.article).toMatchObject({ favorited: true, favoritesCount: 2 });
    await server.request("DELETE", "/api/profiles/anna/follow", { token: bert.token });
  });
});

describe("PUT /api/articles/:slug", () => {
  test("changes what it names and leaves the rest", async () => {
    const article = await server.publish(anna, { ...WHOLE, tagList: ["x", "y"] });
    for (const change of [
      { description: "Another" },
      { body: "Another" },
      { tagList: ["y", "z"] },
      { tagList: [] },
      { title: WHOLE.title, body: "And another" },
    ]) {
      const before = (await read(article.slug)).json.article;
      const { status, json } = await put(article.slug, change);
      expect(status).toBe(200);
      expect(json.article).toEqual({ ...before, ...change, updatedAt: json.article.updatedAt });
      expect((await read(article.slug)).json.article).toEqual(json.article);
    }
  });

  test("moves updatedAt at every edit, also one that changes nothing, and leaves createdAt", async () => {
    const article = await server.publish(anna);
    let last = article.updatedAt;
    for (const change of [{ body: "b" }, { body: "b" }, { tagList: [] }, { title: article.title }, { title: "New" }]) {
      const { slug } = (await server.request("GET", "/api/articles?limit=1")).json.articles[0] as ArticleJson;
      const { updatedAt, createdAt } = (await put(slug, change)).json.article;
      expect(updatedAt > last).toBe(true);
      expect(createdAt).toBe(article.createdAt);
      last = updatedAt;
    }
  });

  test("that names nothing leaves everything", async () => {
    const article = await server.publish(anna);
    const { status, json } = await put(article.slug, { color: "red" });
    expect([status, json.article]).toEqual([200, article]);
  });

  test("gives a changed title a new path, and the old path ends", async () => {
    const { slug } = await server.publish(anna, { title: "Before the change" });
    const { json } = await put(slug, { title: "After the change" });
    expect(json.article).toMatchObject({ slug: "after-the-change", title: "After the change" });
    expect((await read("after-the-change")).status).toBe(200);
    expect((await read(slug)).status).toBe(404);
  });

  test("keeps the path where the title stays, or comes to the same path, with a suffix or without", async () => {
    const first = await server.publish(anna, { title: "Same path" });
    const second = await server.publish(anna, { title: "Same path" });
    expect(second.slug).not.toBe(first.slug);
    for (const { slug } of [first, second]) {
      for (const title of ["Same path", "Same path!", "SAME PATH"]) {
        expect((await put(slug, { title })).json.article).toMatchObject({ slug, title });
      }
    }
    // Also one that was not made from the title.
    await server.sql`update articles set slug = 'chosen-by-hand' where slug = ${first.slug}`;
    const { json } = await put("chosen-by-hand", { title: "SAME PATH", description: "changed" });
    expect(json.article).toMatchObject({ slug: "chosen-by-hand", description: "changed" });
  });

  test("follows a title that loses its last word, also where that looks like a suffix, or is one", async () => {
    const { slug } = await server.publish(anna, { title: "Learn any database" });
    expect((await put(slug, { title: "Learn any" })).json.article.slug).toBe("learn-any");
    const second = await server.publish(anna, { title: "Learn any" });
    // The title of the path that the article has, and then without.
    const spelt = await put(second.slug, { title: second.slug.replaceAll("-", " ") });
    expect(spelt.json.article.slug).toBe(second.slug);
    await put("learn-any", { title: "Learn many" });
    expect((await put(second.slug, { title: "Learn any" })).json.article.slug).toBe("learn-any");
  });

  test("lets two articles trade their titles, with a path of its own for each all the while", async () => {
    const [one, other] = [
      await server.publish(anna, { title: "Traded one" }),
      await server.publish(anna, { title: "Traded other" }),
    ];
    const moved = (await put(one.slug, { title: "Traded other" })).json.article.slug;
    expect(moved).toMatch(/^traded-other-[0-9a-z]{8}$/);
    expect((await put(other.slug, { title: "Traded one" })).json.article.slug).toBe("traded-one");
    // It has a path of this title, though not the plain one, which is free by now.
    expect((await put(moved, { title: "Traded other!" })).json.article.slug).toBe(moved);
  });

  test("gives a path of its own to a title that another article has", async () => {
    await server.publish(anna, { title: "Taken path" });
    const { slug } = await server.publish(anna, { title: "Free path" });
    expect((await put(slug, { title: "Taken path" })).json.article.slug).toMatch(/^taken-path-[0-9a-z]{8}$/);
  });

  test("refuses null, blank and wrong values, and changes nothing then", async () => {
    const article = await server.publish(anna, { tagList: ["kept"] });
    const blank = ["can't be blank"];
    for (const value of [null, "", "  "]) {
      const { status, json } = await put(article.slug, {
        title: value,
        description: value,
        body: value,
        tagList: null,
      });
      expect(status).toBe(422);
      expect(json.errors).toEqual({
        title: blank,
        description: blank,
        body: blank,
        tagList: ["must be a list of strings"],
      });
    }
    expect((await put(article.slug, { body: "not this", title: "x".repeat(256) })).status).toBe(422);
    expect((await read(article.slug)).json.article).toEqual(article);
  });

  test("is the author's alone: 403 to others, 404 where there is none", async () => {
    const article = await server.publish(anna);
    const other = await put(article.slug, { body: "hijacked" }, bert.token);
    expect([other.status, other.json.errors]).toEqual([403, { article: ["forbidden"] }]);
    expect((await read(article.slug)).json.article).toEqual(article);
    const none = await put("no-such-article", { body: "b" });
    expect([none.status, none.json.errors]).toEqual([404, { article: ["not found"] }]);
  });
});

describe("DELETE /api/articles/:slug", () => {
  const remove = (slug: string, token = anna.token) => server.request("DELETE", `/api/articles/${slug}`, { token });

  test("answers 204 without a body, and takes comments, favourites and tags along", async () => {
    const { slug } = await server.publish(anna, { title: "To be deleted", tagList: ["only here"] });
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: bert.token });
    const comment = { comment: { body: "c" } };
    await server.request("POST", `/api/articles/${slug}/comments`, { token: bert.token, body: comment });
    const { status, text } = await remove(slug);
    expect([status, text]).toEqual([204, ""]);

    expect((await read(slug)).status).toBe(404);
    expect((await server.request("GET", `/api/articles/${slug}/comments`)).status).toBe(404);
    expect(
      (await server.request("GET", "/api/articles?favorited=bert&author=anna&tag=only%20here")).json,
    ).toMatchObject({ articles: [], articlesCount: 0 });
    expect((await server.request("GET", "/api/tags")).json.tags).not.toContain("only here");
    const [left] = await server.sql`
      select (select count(*)::integer from comments) as comments,
             (select count(*)::integer from favorites f where not exists (
               select from articles a where a.id = f.article_id)) as favorites`;
    expect(left).toEqual({ comments: 0, favorites: 0 });
    expect((await remove(slug)).status).toBe(404);
  });

  test("is the author's alone: 403 to others, 404 where there is none", async () => {
    const { slug } = await server.publish(anna);
    const other = await remove(slug, bert.token);
    expect([other.status, other.json.errors]).toEqual([403, { article: ["forbidden"] }]);
    expect((await read(slug)).status).toBe(200);
    const none = await remove("no-such-article");
    expect([none.status, none.json.errors]).toEqual([404, { article: ["not found"] }]);
  });

  test("frees the path", async () => {
    const { slug } = await server.publish(anna, { title: "Free again" });
    await remove(slug);
    expect((await server.publish(bert, { title: "Free again" })).slug).toBe(slug);
  });
});

test("an account takes its articles, comments, favourites and counts along", async () => {
  const [dora] = (await addUsers(server, anna, ["dora"])) as [TestUser];
  const hers = await server.publish(dora, { tagList: ["doras"] });
  const annas = await server.publish(anna);
  await server.request("POST", `/api/articles/${annas.slug}/favorite`, { token: dora.token });
  await server.request("POST", `/api/articles/${hers.slug}/favorite`, { token: anna.token });
  const total = (await server.request("GET", "/api/articles")).json.articlesCount;
  await server.sql`delete from users where username = 'dora'`;
  expect((await read(hers.slug)).status).toBe(404);
  expect((await read(annas.slug)).json.article.favoritesCount).toBe(0);
  expect((await server.request("GET", "/api/articles")).json.articlesCount).toBe(total - 1);
  expect((await server.request("GET", "/api/articles?favorited=anna")).json.articlesCount).toBe(1);
  expect((await server.request("GET", "/api/tags")).json.tags).not.toContain("doras");
});
