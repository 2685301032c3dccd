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
const versionOf = async (slug: string): Promise<number> =>
  (await server.sql`select version from articles where slug = ${slug}`)[0].version;

describe("POST /api/articles", () => {
  test("responds with 201 and the whole article", async () => {
    const before = Date.now();
    const { status, json } = await post({ ...WHOLE, tagList: ["dragons", "training"] });
    expect(status).toBe(201);
    const { createdAt, publishedAt, updatedAt, ...rest } = json.article;
    expect(rest).toEqual({
      slug: "how-to-train-your-dragon",
      ...WHOLE,
      excerpt: "You have to believe",
      wordCount: 4,
      readingTime: 1,
      tagList: ["dragons", "training"],
      favorited: false,
      favoritesCount: 0,
      author: { username: "anna", bio: null, image: null, following: false },
    });
    expect(createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect([publishedAt, updatedAt]).toEqual([createdAt, createdAt]);
    // The clock of this machine, or of one nearby.
    expect(Math.abs(Date.parse(createdAt) - before)).toBeLessThan(60_000);
    expect((await read(rest.slug)).json.article).toEqual(json.article);
  });

  test("publishes an article that the very next read of every list contains", async () => {
    const { json } = await post({ ...WHOLE, tagList: ["very next"] });
    for (const filter of ["", "?tag=very%20next", "?author=anna"]) {
      const list = await server.request("GET", `/api/articles${filter}`);
      expect(list.json.articles[0]?.slug).toBe(json.article.slug);
    }
    expect((await server.request("GET", "/api/tags")).json.tags).toContain("very next");
  });

  test("reports all errors of the body together", async () => {
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

  test("reports each missing, null, empty or blank field as blank", async () => {
    const blank = ["can't be blank"];
    for (const value of [undefined, null, "", " \n\t\u00a0", "\u3164", "\u00ad\u200b", "\u202e\u2800 "]) {
      const { status, json } = await post({ title: value, description: value, body: value });
      expect(status).toBe(422);
      expect(json.errors).toEqual({ title: blank, description: blank, body: blank });
    }
  });

  test("rejects titles and descriptions that override the text direction, and accepts marks", async () => {
    for (const control of ["\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"]) {
      const { status, json } = await post({ title: `a${control}b`, description: `a${control}b`, body: `a${control}b` });
      const problem = ["must not contain characters that override the text direction"];
      expect([status, json.errors]).toEqual([422, { title: problem, description: problem }]);
    }
    const title = "C#\u200e — \u200fשלום\u061c";
    expect((await post({ ...WHOLE, title })).json.article.title).toBe(title);
  });

  test("accepts titles of 255 characters, descriptions of 1,000 and bodies of 1 MiB, and stores them unchanged", async () => {
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

  test("accepts a body of 1 MiB whose JSON is twice as long", async () => {
    const body = '"'.repeat(1024 * 1024 - 100);
    const { status, json } = await post({ ...WHOLE, body });
    expect([status, json.article.body === body]).toEqual([201, true]);
  });

  test("stores every text unchanged, white space and markup included", async () => {
    const odd = {
      title: " <b>\"Title\"</b> \\ & 'ever' \u2028 ",
      description: "\tline\r\nline\b\f\u0001 {{}} $1 '; drop table users; --",
      body: '  # Markdown\n\n<script>alert("x")</script>\u2029🐉 \ufeff ',
    };
    const { json } = await post({ ...odd, tagList: ['"', "\\", "{a,b}", "null", "NULL", "a  b", "<i>", "'"] });
    expect(json.article).toMatchObject({
      ...odd,
      tagList: ['"', "\\", "{a,b}", "null", "NULL", "a  b", "<i>", "'"],
    });
    expect((await read(json.article.slug)).json.article).toEqual(json.article);
    const { body: _, ...inList } = json.article;
    expect((await server.request("GET", "/api/articles?limit=1")).json.articles[0]).toEqual(inList as ArticleJson);
  });

  test("gives articles with the same title different slugs", async () => {
    const slugs = [];
    for (let i = 0; i < 3; i++) slugs.push((await post({ ...WHOLE, title: "The same title" })).json.article.slug);
    expect(new Set(slugs).size).toBe(3);
    for (const slug of slugs) expect(slug).toMatch(/^the-same-title(-[0-9a-z]{8})?$/);
  });

  test("gives no article the slug of the feed", async () => {
    const { status, json } = await post({ ...WHOLE, title: "Feed" });
    expect(status).toBe(201);
    expect(json.article.slug).toMatch(/^feed-[0-9a-z]{8}$/);
    expect((await read(json.article.slug)).json.article.title).toBe("Feed");
    const renamed = await put((await server.publish(anna)).slug, { title: "FEED!" });
    expect(renamed.json.article.slug).toMatch(/^feed-[0-9a-z]{8}$/);
  });
});

describe("publishedAt", () => {
  test("is the time of publication, which lists sort by, and may differ from createdAt", async () => {
    const own = await testServer();
    const dora = await own.register("dora");
    await own.publish(dora, { title: "Created last" });
    await own.sql`insert into articles (author_id, slug, title, description, body, created_at, published_at)
      select id, 'published-last', 'Published last', 'd', 'b', '2024-02-29 23:59:59.5Z', now() + interval '1 hour' from users`;
    const { articles } = (await own.request("GET", "/api/articles?author=dora")).json;
    expect(articles.map(({ slug }) => slug)).toEqual(["published-last", "created-last"]);
    const { createdAt, publishedAt } = (await own.request("GET", "/api/articles/published-last")).json.article;
    expect(createdAt).toBe("2024-02-29T23:59:59.500Z");
    expect(publishedAt).toBe(articles[0]?.publishedAt as string);
    expect(publishedAt > new Date().toISOString()).toBe(true);
    await own.stop();
  });

  test("can neither be changed nor cleared, and neither can the author", async () => {
    const { slug } = await server.publish(anna);
    for (const change of [
      "published_at = now() + interval '1 hour'",
      "published_at = null",
      "author_id = author_id + 1",
    ]) {
      const update = server.sql.unsafe(`update articles set ${change} where slug = '${slug}'`);
      await expect(update.then(() => "changed")).rejects.toThrow(
        "author_id and published_at of an article do not change",
      );
    }
  });
});

describe("a tag list", () => {
  test("has no invisible characters, except where a script or an emoji needs them", async () => {
    for (const tag of ["look\u200balike", "look\u00adalike", "look\u202ealike", "look\u200calike", "tea\u0007"]) {
      const { status, json } = await post({ ...WHOLE, tagList: ["tea", tag] });
      const problem = "must not contain invisible or unassigned characters";
      expect([tag, status, json.errors]).toEqual([tag, 422, { tagList: [problem] }]);
    }
    const tagList = ["می\u200cخواهم", "ශ්\u200dරී", "❤\ufe0f", "👩\u200d👩\u200d👧"];
    expect((await post({ ...WHOLE, tagList })).json.article.tagList).toEqual(tagList);
  });

  test("keeps its order, and is trimmed, without blank and repeated tags", async () => {
    const { json } = await post({
      ...WHOLE,
      tagList: ["b", " a\t", "b ", "", "  ", "\u3164", "\u00ad\u200b", "A", "a", "c d"],
    });
    expect(json.article.tagList).toEqual(["b", "a", "A", "c d"]);
  });

  test("has at most 20 tags of at most 50 characters, counted after trimming", async () => {
    const twenty = Array.from({ length: 20 }, (_, i) => `tag ${i}`);
    expect((await post({ ...WHOLE, tagList: [...twenty, "tag 0 ", ""] })).json.article.tagList).toEqual(twenty);
    const long = "🐉".repeat(50);
    expect((await post({ ...WHOLE, tagList: [` ${long} `] })).json.article.tagList).toEqual([long]);

    const many = await post({ ...WHOLE, tagList: [...twenty, "one more"] });
    expect([many.status, many.json.errors]).toEqual([422, { tagList: ["has too many tags (maximum is 20)"] }]);
    const same = await post({ ...WHOLE, tagList: Array(1_000).fill("tea") });
    expect(same.json.article.tagList).toEqual(["tea"]);
    // More of them are not even looked at.
    const hostile = await post({ ...WHOLE, tagList: Array(1_001).fill("a\0b") });
    expect([hostile.status, hostile.json.errors]).toEqual([422, { tagList: ["has too many tags (maximum is 20)"] }]);
    const tooLong = await post({ ...WHOLE, tagList: [`${long}x`] });
    expect([tooLong.status, tooLong.json.errors]).toEqual([
      422,
      { tagList: ["has a tag that is too long (maximum is 50 characters)"] },
    ]);
  });

  test("is a list of strings or absent", async () => {
    for (const tagList of [null, "a", {}, [1], ["a", null], [["a"]]]) {
      const { status, json } = await post({ ...WHOLE, tagList });
      expect([tagList, status, json.errors]).toEqual([tagList, 422, { tagList: ["must be a list of strings"] }]);
    }
    expect((await post(WHOLE)).json.article.tagList).toEqual([]);
    expect((await post({ ...WHOLE, tagList: [] })).json.article.tagList).toEqual([]);
  });
});

describe("GET /api/articles/:slug", () => {
  test("responds with 404 if there is no such article", async () => {
    const { status, json } = await read("no-such-article");
    expect([status, json.errors]).toEqual([404, { article: ["not found"] }]);
  });

  test("shows each viewer their own favourite and follow, and anonymous readers none", async () => {
    const { slug } = await server.publish(anna);
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: bert.token });
    await server.request("POST", "/api/profiles/anna/follow", { token: bert.token });
    const flags = async (token?: string) => {
      const { favorited, favoritesCount, author } = (await read(slug, token)).json.article;
      return [favorited, favoritesCount, author.following];
    };
    expect(await flags(bert.token)).toEqual([true, 1, true]);
    expect(await flags(anna.token)).toEqual([false, 1, false]);
    expect(await flags()).toEqual([false, 1, false]);
    // So does the response to an edit.
    expect((await put(slug, { body: "b" })).json.article).toMatchObject({ favorited: false, favoritesCount: 1 });
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: anna.token });
    expect((await put(slug, { body: "c" })).json.article).toMatchObject({ favorited: true, favoritesCount: 2 });
    await server.request("DELETE", "/api/profiles/anna/follow", { token: bert.token });
  });
});

describe("PUT /api/articles/:slug", () => {
  test("changes the given fields and leaves the others", async () => {
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
      const facts = "body" in change ? { excerpt: change.body, wordCount: change.body.split(" ").length } : {};
      expect(json.article).toEqual({ ...before, ...change, ...facts, updatedAt: json.article.updatedAt });
      expect((await read(article.slug)).json.article).toEqual(json.article);
    }
  });

  test("raises version and updatedAt with every edit, and leaves createdAt and publishedAt", async () => {
    const article = await server.publish(anna);
    expect(await versionOf(article.slug)).toBe(1);
    let last = article.updatedAt;
    let version = 1;
    for (const change of [{ body: "b" }, { body: "b" }, { tagList: [] }, { title: article.title }, { title: "New" }]) {
      const { slug } = (await server.request("GET", "/api/articles?limit=1")).json.articles[0] as ArticleJson;
      const { updatedAt, createdAt, publishedAt, slug: slugAfter } = (await put(slug, change)).json.article;
      expect(updatedAt > last).toBe(true);
      expect([createdAt, publishedAt]).toEqual([article.createdAt, article.publishedAt]);
      expect(await versionOf(slugAfter)).toBe(++version);
      last = updatedAt;
    }
  });

  test("without a field changes nothing, not even the version", async () => {
    const article = await server.publish(anna);
    const { status, json } = await put(article.slug, { color: "red" });
    expect([status, json.article]).toEqual([200, article]);
    expect(await versionOf(article.slug)).toBe(1);
  });

  test("gives an article with a changed title a new slug, and the old one redirects", async () => {
    const { slug } = await server.publish(anna, { title: "Before the change" });
    const { json } = await put(slug, { title: "After the change" });
    expect(json.article).toMatchObject({ slug: "after-the-change", title: "After the change" });
    expect((await read("after-the-change")).status).toBe(200);
    const { status, headers } = await read(slug);
    expect([status, headers.get("location")]).toEqual([308, "/api/articles/after-the-change"]);
  });

  test("keeps the slug, with or without a suffix, while the title has the same slug", async () => {
    const first = await server.publish(anna, { title: "Same path" });
    const second = await server.publish(anna, { title: "Same path" });
    expect(second.slug).not.toBe(first.slug);
    for (const { slug } of [first, second]) {
      for (const title of ["Same path", "Same path!", "SAME PATH"]) {
        expect((await put(slug, { title })).json.article).toMatchObject({ slug, title });
      }
    }
    // Also a slug that was not made from the title.
    await server.sql`update articles set slug = 'chosen-by-hand' where slug = ${first.slug}`;
    const { json } = await put("chosen-by-hand", { title: "SAME PATH", description: "changed" });
    expect(json.article).toMatchObject({ slug: "chosen-by-hand", description: "changed" });
  });

  test("changes the slug when the title loses its last word, also one that looks like a suffix or is one", async () => {
    const { slug } = await server.publish(anna, { title: "Learn any database" });
    expect((await put(slug, { title: "Learn any" })).json.article.slug).toBe("learn-any");
    const second = await server.publish(anna, { title: "Learn any" });
    // First a title that spells out the whole slug, then the same without the suffix.
    const spelt = await put(second.slug, { title: second.slug.replaceAll("-", " ") });
    expect(spelt.json.article.slug).toBe(second.slug);
    await server.request("DELETE", "/api/articles/learn-any", { token: anna.token });
    expect((await put(second.slug, { title: "Learn any" })).json.article.slug).toBe("learn-any");
  });

  test("lets two articles swap their titles, each with slugs of its own throughout", async () => {
    const [one, other] = [
      await server.publish(anna, { title: "Traded one" }),
      await server.publish(anna, { title: "Traded other" }),
    ];
    const moved = (await put(one.slug, { title: "Traded other" })).json.article.slug;
    expect(moved).toMatch(/^traded-other-[0-9a-z]{8}$/);
    // The former slugs still lead to the other article.
    expect((await put(other.slug, { title: "Traded one" })).json.article.slug).toMatch(/^traded-one-[0-9a-z]{8}$/);
    const leadTo = await Promise.all([one.slug, other.slug].map((slug) => read(slug)));
    expect(leadTo.map(({ status }) => status)).toEqual([308, 308]);
    expect((await put(moved, { title: "Traded other!" })).json.article.slug).toBe(moved);
  });

  test("adds a suffix to the slug if another article has the title", async () => {
    await server.publish(anna, { title: "Taken path" });
    const { slug } = await server.publish(anna, { title: "Free path" });
    expect((await put(slug, { title: "Taken path" })).json.article.slug).toMatch(/^taken-path-[0-9a-z]{8}$/);
  });

  test("rejects null, blank and invalid values, and then changes nothing", async () => {
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

  test("responds with 403 to everyone but the author, and with 404 if there is no such article", async () => {
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

  test("responds with 204 and no body, and deletes comments, favourites and tags with the article", async () => {
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

  test("responds with 403 to everyone but the author, and with 404 if there is no such article", async () => {
    const { slug } = await server.publish(anna);
    const other = await remove(slug, bert.token);
    expect([other.status, other.json.errors]).toEqual([403, { article: ["forbidden"] }]);
    expect((await read(slug)).status).toBe(200);
    const none = await remove("no-such-article");
    expect([none.status, none.json.errors]).toEqual([404, { article: ["not found"] }]);
  });

  test("makes the slug available again", async () => {
    const { slug } = await server.publish(anna, { title: "Free again" });
    await remove(slug);
    expect((await server.publish(bert, { title: "Free again" })).slug).toBe(slug);
  });
});

test("deleting an account deletes its articles, comments and favourites, and corrects the counts", async () => {
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
