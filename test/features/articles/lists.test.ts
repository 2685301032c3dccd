import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeArticleBlocks, listArticles } from "../../../src/features/articles/lists.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";
import { expectExact } from "../../support/recounts.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
let cleo: TestUser;
/** By title: a1 … a4 of anna, b1 … b4 of bert, in the order of publishing a1 b1 a2 b2 … */
const articles: Record<string, ArticleJson> = {};
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert, cleo] = (await addUsers(server, anna, ["bert", "Cléo"])) as [TestUser, TestUser];
  for (let i = 1; i <= 4; i++) {
    for (const [user, letter] of [
      [anna, "a"],
      [bert, "b"],
    ] as const) {
      const tagList = ["all", ...(i % 2 === 0 ? ["even"] : []), ...(i === 1 ? [`first ${letter}`] : [])];
      articles[`${letter}${i}`] = await server.publish(user, { title: `${letter}${i}`, tagList });
    }
  }
  await server.request("POST", "/api/profiles/bert/follow", { token: anna.token });
  for (const [user, title] of [
    [anna, "b1"],
    [anna, "a2"],
    [cleo, "b1"],
    [cleo, "b2"],
    [cleo, "a4"],
  ] as const) {
    await server.request("POST", `/api/articles/${title}/favorite`, { token: user.token });
  }
});
afterAll(() => server.stop());

const list = async (query: string, viewer?: TestUser) => {
  const { status, json } = await server.request("GET", `/api/articles${query}`, { token: viewer?.token });
  expect(status).toBe(200);
  return json;
};
const titles = async (query: string, viewer?: TestUser) => {
  const { articles, articlesCount } = await list(query, viewer);
  return [articles.map(({ title }) => title).join(" "), articlesCount];
};
const ALL = "b4 a4 b3 a3 b2 a2 b1 a1";

describe("GET /api/articles", () => {
  test("lists the newest first, and says how many there are", async () => {
    expect(await titles("")).toEqual([ALL, 8]);
  });

  test("orders articles of the same millisecond by id", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    await other.sql`insert into articles (author_id, slug, title, description, body, tag_list, created_at)
      select u.id, 't' || i, 't' || i, 'd', 'b', '{t}', '2024-01-01' from users u, generate_series(1, 6) i`;
    await other.sql`insert into favorites (user_id, article_id, article_created_at, author_id)
      select author_id, id, created_at, author_id from articles`;
    const [elsa] = (await addUsers(other, dora, ["elsa"])) as [TestUser];
    await other.sql`insert into follows select e.id, d.id from users e, users d
      where e.username = 'elsa' and d.username = 'dora'`;
    const expected = (await other.sql`select title from articles order by id desc`).map(
      (row: ArticleJson) => row.title,
    );
    const filters = ["tag=t", "author=dora", "favorited=dora"];
    // Every set of the three.
    const sets = [0, 1, 2, 3, 4, 5, 6, 7].map((set) => filters.filter((_, i) => set & (1 << i)).join("&"));
    for (const path of ["/api/articles/feed?", ...sets.map((set) => `/api/articles?${set}&`)]) {
      const pages: string[] = [];
      for (let offset = 0; offset < 6; offset += 2) {
        const { json } = await other.request("GET", `${path}limit=2&offset=${offset}`, { token: elsa.token });
        pages.push(...json.articles.map(({ title }) => title));
      }
      expect(pages).toEqual(expected);
    }
    // And a favourite of one of them is not one of the others.
    await other.request("POST", "/api/articles/t3/favorite", { token: elsa.token });
    const { json } = await other.request("GET", "/api/articles", { token: elsa.token });
    expect(json.articles.filter(({ favorited }) => favorited).map(({ slug }) => slug)).toEqual(["t3"]);
    expect((await other.request("GET", "/api/articles/t4", { token: elsa.token })).json.article.favorited).toBe(false);
  });

  test("shows articles without their bodies, with their authors", async () => {
    const [first] = (await list("?limit=1")).articles;
    const { body: _, ...rest } = articles.b4 as ArticleJson;
    expect(first).toEqual(rest as ArticleJson);
  });

  test("filters by tag, author and reader, alone and together", async () => {
    expect(await titles("?tag=even")).toEqual(["b4 a4 b2 a2", 4]);
    expect(await titles("?author=anna")).toEqual(["a4 a3 a2 a1", 4]);
    expect(await titles("?favorited=anna")).toEqual(["a2 b1", 2]);
    expect(await titles("?tag=even&author=bert")).toEqual(["b4 b2", 2]);
    expect(await titles("?tag=even&favorited=Cl%C3%A9o")).toEqual(["a4 b2", 2]);
    expect(await titles("?author=bert&favorited=Cl%C3%A9o")).toEqual(["b2 b1", 2]);
    expect(await titles("?tag=even&author=bert&favorited=Cl%C3%A9o")).toEqual(["b2", 1]);
    expect(await titles("?tag=first%20a&author=anna&favorited=anna")).toEqual(["", 0]);
  });

  test("finds authors and readers whatever the case and form of their names, and tags as they are written", async () => {
    expect(await titles("?author=ANNA")).toEqual(["a4 a3 a2 a1", 4]);
    expect(await titles(`?favorited=${encodeURIComponent("CLE\u0301O")}`)).toEqual(["a4 b2 b1", 3]);
    expect(await titles("?tag=EVEN")).toEqual(["", 0]);
  });

  test("is empty for a tag, author or reader that is not there", async () => {
    for (const query of [
      "?tag=none",
      "?author=none",
      "?favorited=none",
      "?tag=even&author=none",
      "?tag=none&author=anna",
    ])
      expect(await titles(query)).toEqual(["", 0]);
    expect(await titles("?favorited=bert")).toEqual(["", 0]);
  });

  test("takes an empty filter for none", async () => {
    expect(await titles("?tag=&author=&favorited=")).toEqual([ALL, 8]);
  });

  test("cuts into pages by limit and offset, with the exact count on each, also past the end", async () => {
    expect(await titles("?limit=3")).toEqual(["b4 a4 b3", 8]);
    expect(await titles("?limit=3&offset=6")).toEqual(["b1 a1", 8]);
    for (const offset of ["8", "9", "1000000", "9007199254740991", "99999999999999999999999999"]) {
      expect(await titles(`?offset=${offset}`)).toEqual(["", 8]);
      expect(await titles(`?offset=${offset}&tag=even`)).toEqual(["", 4]);
      expect(await titles(`?offset=${offset}&author=anna&favorited=anna`)).toEqual(["", 1]);
    }
    expect(await titles("?offset=2&limit=1&author=anna")).toEqual(["a2", 4]);
  });

  test("has 20 to a page unless asked, and 100 at most", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    await other.sql`insert into articles (author_id, slug, title, description, body)
      select u.id, 'x' || i, 'x' || i, 'd', 'b' from users u, generate_series(1, 103) i`;
    const length = async (path: string) => {
      const { json } = await other.request("GET", path, { token: dora.token });
      return [json.articles.length, json.articlesCount];
    };
    expect(await length("/api/articles")).toEqual([20, 103]);
    expect(await length("/api/articles?limit=100")).toEqual([100, 103]);
    expect(await length("/api/articles?limit=101")).toEqual([100, 103]);
    expect(await length("/api/articles?limit=99999999999999999999999999")).toEqual([100, 103]);
    expect(await length("/api/articles?limit=1")).toEqual([1, 103]);
    expect(await length("/api/articles?author=dora&limit=1000&offset=100")).toEqual([3, 103]);
    const [elsa] = (await addUsers(other, dora, ["elsa"])) as [TestUser];
    await other.request("POST", "/api/profiles/dora/follow", { token: elsa.token });
    const feed = async (query: string) =>
      (await other.request("GET", `/api/articles/feed${query}`, { token: elsa.token })).json.articles.length;
    expect([await feed(""), await feed("?limit=101")]).toEqual([20, 100]);
  });

  for (const path of ["/api/articles", "/api/articles/feed"]) {
    test(`refuses a limit or an offset that is no such number, by name: ${path}`, async () => {
      for (const bad of [
        "",
        "0",
        "-1",
        "1.5",
        "1e2",
        "abc",
        "0x10",
        "%20",
        "1%20",
        "+1",
        "%D9%A1",
        "Infinity",
        "NaN",
      ]) {
        const limit = await server.request("GET", `${path}?limit=${bad}`, { token: anna.token });
        expect([bad, limit.status, limit.json.errors]).toEqual([
          bad,
          422,
          { limit: ["must be a whole number from 1"] },
        ]);
        if (bad === "0") continue;
        const offset = await server.request("GET", `${path}?offset=${bad}`, { token: anna.token });
        expect([bad, offset.status, offset.json.errors]).toEqual([
          bad,
          422,
          { offset: ["must be a whole number from 0"] },
        ]);
      }
      const both = await server.request("GET", `${path}?limit=x&offset=y`, { token: anna.token });
      expect(Object.keys(both.json.errors).sort()).toEqual(["limit", "offset"]);
    });
  }

  test("takes the first of a parameter that is given twice", async () => {
    expect(await titles("?limit=1&limit=2&author=anna&author=bert")).toEqual(["a4", 4]);
  });

  test("takes percent-encoded and plus-encoded parameters", async () => {
    expect(await titles("?tag=first+b")).toEqual(["b1", 1]);
    expect(await titles("?tag=first%20b")).toEqual(["b1", 1]);
    expect(await titles("?%74ag=%66irst%20b")).toEqual(["b1", 1]);
  });

  test("knows each viewer's favourites and follows in every list, and nobody's", async () => {
    const flags = async (query: string, viewer?: TestUser) =>
      (await list(query, viewer)).articles
        .map(
          ({ title, favorited, favoritesCount, author }) =>
            `${title}${favoritesCount}${favorited ? "*" : ""}${author.following ? "+" : ""}`,
        )
        .join(" ");
    const nobody = "b40 a41 b30 a30 b21 a21 b12 a10";
    expect(await flags("")).toBe(nobody);
    expect(await flags("", bert)).toBe(nobody);
    expect(await flags("", anna)).toBe("b40+ a41 b30+ a30 b21+ a21* b12*+ a10");
    expect(await flags("", cleo)).toBe("b40 a41* b30 a30 b21* a21 b12* a10");
    expect(await flags("?favorited=Cl%C3%A9o", anna)).toBe("a41 b21+ b12*+");
    expect(await flags("?tag=even", cleo)).toBe("b40 a41* b21* a21");
    expect(await flags("?tag=even&author=bert", anna)).toBe("b40+ b21+");
  });
});

describe("GET /api/articles/feed", () => {
  const feed = async (viewer: TestUser, query = "") => {
    const { status, json } = await server.request("GET", `/api/articles/feed${query}`, { token: viewer.token });
    expect(status).toBe(200);
    return [json.articles.map(({ title }) => title).join(" "), json.articlesCount];
  };

  test("lists those of the authors followed, newest first, cut into pages, with the exact count", async () => {
    expect(await feed(anna)).toEqual(["b4 b3 b2 b1", 4]);
    expect(await feed(anna, "?limit=2&offset=1")).toEqual(["b3 b2", 4]);
    expect(await feed(anna, "?offset=4")).toEqual(["", 4]);
    expect(await feed(anna, "?offset=9007199254740991&limit=100")).toEqual(["", 4]);
    expect(await feed(bert)).toEqual(["", 0]);
  });

  test("merges the articles of several authors, and follows what the reader follows", async () => {
    await server.request("POST", "/api/profiles/anna/follow", { token: cleo.token });
    expect(await feed(cleo)).toEqual(["a4 a3 a2 a1", 4]);
    await server.request("POST", "/api/profiles/bert/follow", { token: cleo.token });
    expect(await feed(cleo)).toEqual([ALL, 8]);
    expect(await feed(cleo, "?limit=3&offset=2")).toEqual(["b3 a3 b2", 8]);
    await server.request("DELETE", "/api/profiles/anna/follow", { token: cleo.token });
    expect(await feed(cleo)).toEqual(["b4 b3 b2 b1", 4]);
    await server.request("DELETE", "/api/profiles/bert/follow", { token: cleo.token });
    expect(await feed(cleo)).toEqual(["", 0]);
  });

  test("knows who has written last, also when the newest of an author was deleted", async () => {
    // On a server of its own: the lists of the others count every article.
    const own = await testServer();
    const reader = await own.register("reader");
    const [dora, emil] = (await addUsers(own, reader, ["dora", "emil"])) as [TestUser, TestUser];
    for (const { username } of [dora, emil]) {
      await own.request("POST", `/api/profiles/${username}/follow`, { token: reader.token });
    }
    await own.publish(dora, { title: "d1" });
    await own.publish(emil, { title: "e1" });
    await own.publish(dora, { title: "d2" });
    const last = async () =>
      (await own.request("GET", "/api/articles/feed?limit=1", { token: reader.token })).json.articles[0]?.title;
    expect(await last()).toBe("d2");
    await own.request("DELETE", "/api/articles/d2", { token: dora.token });
    expect(await last()).toBe("e1");
    await own.request("DELETE", "/api/articles/e1", { token: emil.token });
    expect(await last()).toBe("d1");
    await own.request("DELETE", "/api/articles/d1", { token: dora.token });
    expect(await last()).toBeUndefined();
    await own.publish(emil, { title: "e2" });
    expect(await last()).toBe("e2");
    await own.stop();
  });

  test("shows articles without bodies, and knows the viewer's favourites and follows", async () => {
    const { json } = await server.request("GET", "/api/articles/feed?offset=3", { token: anna.token });
    const { body: _, ...rest } = articles.b1 as ArticleJson;
    expect(json.articles).toEqual([
      { ...rest, favorited: true, favoritesCount: 2, author: { ...rest.author, following: true } } as ArticleJson,
    ]);
  });
});

describe("a page deep in the list of all", () => {
  test("is the same as by walking there, whatever was published, deleted and counted meanwhile", async () => {
    const deep = await testServer();
    const dora = await deep.register("dora");
    // 12,000 articles, a hundred at a moment, the newest of them of the last hour.
    await deep.sql`insert into articles (author_id, slug, title, description, body, created_at)
      select (select id from users), 'deep-' || n, 'Deep ' || n, 'd', 'b', now() - interval '2 minutes' * (n / 100)
        from generate_series(1, 12000) n`;

    const expectSame = async () => {
      const all = await deep.sql`select slug from articles order by created_at desc, id desc`;
      for (let offset = 4_985; offset < all.length + 20; offset += 97) {
        const { json } = await deep.request("GET", `/api/articles?limit=10&offset=${offset}`, { token: dora.token });
        expect(json.articlesCount).toBe(all.length);
        expect([offset, ...json.articles.map((article: ArticleJson) => article.slug)]).toEqual([
          offset,
          ...all.slice(offset, offset + 10).map(({ slug }: { slug: string }) => slug),
        ]);
      }
      await expectExact(deep);
    };
    const blocks = async () =>
      (await deep.sql`select articles_count::integer as n from article_blocks order by end_created_at, end_id`).map(
        ({ n }: { n: number }) => n,
      );
    await expectSame();
    expect(await blocks()).toEqual([]);
    await closeArticleBlocks(deep.db);
    expect(await blocks()).toEqual([5_000]);
    await deep.sql`select close_article_blocks(3000)`;
    expect(await blocks()).toEqual([5_000, 3_000]);
    await expectSame();

    // Old ones and new ones go, one by one and many at once; some come, also with a date of long ago.
    const slugs = await deep.sql`select slug from articles where id % 131 = 0`;
    await Promise.all(
      slugs.map(({ slug }: { slug: string }) => deep.request("DELETE", `/api/articles/${slug}`, { token: dora.token })),
    );
    await deep.sql`delete from articles where id % 17 = 0`;
    for (let i = 0; i < 3; i++) await deep.publish(dora, { title: `New ${i}` });
    await deep.sql`insert into articles (author_id, slug, title, description, body, created_at)
      select (select id from users), 'old-' || n, 'Old ' || n, 'd', 'b', now() - interval '7 minutes' * n
        from generate_series(1, 100) n`;
    await expectSame();
    expect((await blocks()).map((n: number) => n === 5_000 || n === 3_000)).toEqual([false, false]);
    // Later, many instances tidy up at once: each closes what the others have not.
    await deep.sql`insert into articles (author_id, slug, title, description, body, created_at)
      select (select id from users), 'later-' || n, 'Later ' || n, 'd', 'b', now() - interval '1 second' * (3700 + n % 7)
        from generate_series(1, 300) n`;
    const closed = await Promise.all([1, 2, 3, 4].map(() => deep.sql`select close_article_blocks(100) as blocks`));
    // What lies between them and the last block is closed as well.
    expect(closed.reduce((sum, [{ blocks: n }]) => sum + n, 0)).toBe((await blocks()).length - 2);
    expect((await blocks()).length).toBeGreaterThan(10);
    await expectSame();
  });

  test("blocks are closed another time where somebody holds the articles, and nobody has to wait for that", async () => {
    const deep = await testServer();
    const dora = await deep.register("dora");
    await deep.sql`insert into articles (author_id, slug, title, description, body, created_at)
      select id, 'old', 'Old', 'd', 'b', '2024-01-01'::timestamptz from users union all
      select id, 'older', 'Older', 'd', 'b', '2023-01-01'::timestamptz from users`;
    const vacuum = await deep.sql.reserve();
    await vacuum`begin`;
    await vacuum`lock table articles in share update exclusive mode`;
    const [[row]] = await Promise.all([
      deep.sql`select close_article_blocks(1) as closed`,
      deep.publish(dora, { title: "Meanwhile" }),
    ]);
    expect(row.closed).toBe(0);
    await vacuum`commit`;
    vacuum.release();
    expect((await deep.sql`select close_article_blocks(1) as closed`)[0].closed).toBe(1);
    await expectExact(deep);
  });

  test("is asked for by a statement of its own, and nobody's lists by others than a viewer's", async () => {
    const asked: string[] = [];
    const db: typeof server.db = {
      ...server.db,
      row: (statement, parameters) => {
        asked.push(statement.name);
        return server.db.row(statement, parameters);
      },
    };
    for (const viewer of [null, "1"]) {
      for (const offset of [4_999, 5_000]) await listArticles(db, viewer, { limit: 1, offset });
      await listArticles(db, viewer, { limit: 1, offset: 5_000, author: "anna" });
    }
    expect(asked).toEqual([
      ...["articles_all_for_nobody", "articles_all_deep_for_nobody", "articles_by_author_for_nobody"],
      ...["articles_all", "articles_all_deep", "articles_by_author"],
    ]);
  });

  test("who publishes or deletes while blocks are closed waits, and is counted", async () => {
    const deep = await testServer();
    const dora = await deep.register("dora");
    await deep.sql`insert into articles (author_id, slug, title, description, body, created_at)
      select (select id from users), 'deep-' || n, 'Deep ' || n, 'd', 'b', now() - interval '1 hour' * n
        from generate_series(2, 300) n`;
    const closer = await deep.sql.reserve();
    await closer`begin`;
    await closer`select close_article_blocks(50)`;
    const deleted = Promise.all(
      [299, 240, 180, 3].map((n) => deep.request("DELETE", `/api/articles/deep-${n}`, { token: dora.token })),
    );
    const published = deep.publish(dora, { title: "Meanwhile" });
    await Bun.sleep(300);
    await closer`commit`;
    closer.release();
    expect((await deleted).map(({ status }) => status)).toEqual([204, 204, 204, 204]);
    expect((await published).slug).toBe("meanwhile");
    await expectExact(deep);
  });
});
