import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Statement, statements } from "../../../src/db/statements.ts";
import { listArticles } from "../../../src/features/articles/lists.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";
import { createRandom, SEED } from "../../support/random.ts";

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
  test("lists the newest first, with the number of all", async () => {
    expect(await titles("")).toEqual([ALL, 8]);
  });

  test("orders articles of the same millisecond by id, with every set of filters", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    await other.sql`insert into articles (author_id, slug, title, description, body, tag_list, published_at)
      select u.id, 't' || i, 't' || i, 'd', 'b', '{t}', '2024-01-01' from users u, generate_series(1, 6) i`;
    await other.sql`insert into favorites (user_id, article_id, article_published_at, author_id)
      select author_id, id, published_at, author_id from articles`;
    const [elsa] = (await addUsers(other, dora, ["elsa"])) as [TestUser];
    await other.sql`insert into follows (follower_id, followee_id) select e.id, d.id from users e, users d
      where e.username = 'elsa' and d.username = 'dora'`;
    const expected = (await other.sql`select title from articles order by id desc`).map(
      (row: ArticleJson) => row.title,
    );
    const filters = ["tag=t", "author=dora", "favorited=dora"];
    const sets = [0, 1, 2, 3, 4, 5, 6, 7].map((set) => filters.filter((_, i) => set & (1 << i)).join("&"));
    for (const path of ["/api/articles/feed?", ...sets.map((set) => `/api/articles?${set}&`)]) {
      const pages: string[] = [];
      for (let offset = 0; offset < 6; offset += 2) {
        const { json } = await other.request("GET", `${path}limit=2&offset=${offset}`, { token: elsa.token });
        pages.push(...json.articles.map(({ title }) => title));
      }
      expect(pages).toEqual(expected);
    }
    // A favourite belongs to one of them, not to the others of the same millisecond.
    await other.request("POST", "/api/articles/t3/favorite", { token: elsa.token });
    const { json } = await other.request("GET", "/api/articles", { token: elsa.token });
    expect(json.articles.filter(({ favorited }) => favorited).map(({ slug }) => slug)).toEqual(["t3"]);
    expect((await other.request("GET", "/api/articles/t4", { token: elsa.token })).json.article.favorited).toBe(false);
  });

  test("leads to the next page by cursor, to each article once, while others are published and deleted", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    const [elsa, finn] = (await addUsers(other, dora, ["elsa", "finn"])) as [TestUser, TestUser];
    // Three of each millisecond, in turn by two authors.
    await other.sql`insert into articles (author_id, slug, title, description, body, tag_list, published_at)
      select u.id, 't' || i, 't' || i, 'd', 'b', '{t}', timestamptz '2024-01-01' + (i / 3) * interval '1 ms'
        from generate_series(1, 60) i join users u on u.username = (array['dora', 'elsa'])[1 + i % 2]`;
    await other.sql`insert into favorites (user_id, article_id, article_published_at, author_id)
      select u.id, a.id, a.published_at, a.author_id from articles a, users u where u.username = 'finn'`;
    await other.sql`insert into follows (follower_id, followee_id)
      select f.id, u.id from users f, users u where f.username = 'finn' and u.username in ('dora', 'elsa')`;
    const all = (await other.sql`select slug from articles order by published_at desc, id desc`).map(
      (row: ArticleJson) => row.slug,
    );
    const ofDora = all.filter((slug: string) => Number(slug.slice(1)) % 2 === 0);
    for (const [path, expected] of [
      ["/api/articles/feed?", all],
      ["/api/articles?", all],
      ["/api/articles?tag=t&", all],
      ["/api/articles?author=dora&", ofDora],
      ["/api/articles?favorited=finn&", all],
      ["/api/articles?tag=t&author=dora&favorited=finn&", ofDora],
    ] as const) {
      const walked: string[] = [];
      let next: string | undefined = `${path}limit=7&offset=0`;
      while (next !== undefined) {
        const { json, headers } = await other.request("GET", next, { token: finn.token });
        walked.push(...json.articles.map(({ slug }) => slug));
        const url: string | undefined = /^<(.+)>; rel="next"$/.exec(headers.get("Link") ?? "")?.[1];
        expect(url === undefined ? null : new URL(url, other.url).searchParams.get("cursor")).toBe(json.nextCursor);
        next = url;
        // What comes before the page, and the article where the page ended, are gone.
        const published = await other.publish(elsa, { tagList: ["t"] });
        await other.request("DELETE", `/api/articles/${published.slug}`, { token: elsa.token });
        await other.publish(elsa, { title: "New", tagList: ["t"] });
      }
      expect([path, walked]).toEqual([path, expected]);
      await other.sql`delete from articles where slug like 'new%'`;
    }
    const { json } = await other.request("GET", `/api/articles?limit=10`);
    await other.sql`delete from articles where slug = ${json.articles.at(-1)?.slug ?? ""}`;
    const second = await other.request("GET", `/api/articles?limit=3&cursor=${json.nextCursor}`);
    expect(second.json.articles.map(({ slug }) => slug)).toEqual(all.slice(10, 13));
    expect(second.json.articlesCount).toBe(59);
  });

  test("rejects a cursor that is none, or of another list", async () => {
    for (const path of ["/api/articles", "/api/articles/feed"]) {
      for (const cursor of ["", "x", "WzEsImNvbW1lbnRzIiwwLCIxIl0"]) {
        const { status, json } = await server.request("GET", `${path}?cursor=${cursor}`, { token: anna.token });
        expect([path, cursor, status, json.errors]).toEqual([path, cursor, 422, { cursor: ["is invalid"] }]);
      }
    }
  });

  test("shows articles without their bodies, with their authors", async () => {
    const [first] = (await list("?limit=1")).articles;
    const { body: _, status: __, publishAt: ___, ...rest } = articles.b4 as ArticleJson;
    expect(first).toEqual(rest as ArticleJson);
  });

  test("filters by tag, author and reader, alone and combined", async () => {
    expect(await titles("?tag=even")).toEqual(["b4 a4 b2 a2", 4]);
    expect(await titles("?author=anna")).toEqual(["a4 a3 a2 a1", 4]);
    expect(await titles("?favorited=anna")).toEqual(["a2 b1", 2]);
    expect(await titles("?tag=even&author=bert")).toEqual(["b4 b2", 2]);
    expect(await titles("?tag=even&favorited=Cl%C3%A9o")).toEqual(["a4 b2", 2]);
    expect(await titles("?author=bert&favorited=Cl%C3%A9o")).toEqual(["b2 b1", 2]);
    expect(await titles("?tag=even&author=bert&favorited=Cl%C3%A9o")).toEqual(["b2", 1]);
    expect(await titles("?tag=first%20a&author=anna&favorited=anna")).toEqual(["", 0]);
  });

  test("finds authors and readers in any case and Unicode form of their names, but tags only as written", async () => {
    expect(await titles("?author=ANNA")).toEqual(["a4 a3 a2 a1", 4]);
    expect(await titles(`?favorited=${encodeURIComponent("CLE\u0301O")}`)).toEqual(["a4 b2 b1", 3]);
    expect(await titles("?tag=EVEN")).toEqual(["", 0]);
  });

  test("is empty for an unknown tag, author or reader", async () => {
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

  test("ignores empty filters", async () => {
    expect(await titles("?tag=&author=&favorited=")).toEqual([ALL, 8]);
  });

  test("returns pages by limit and offset, with the exact count on each, also past the end", async () => {
    expect(await titles("?limit=3")).toEqual(["b4 a4 b3", 8]);
    expect(await titles("?limit=3&offset=6")).toEqual(["b1 a1", 8]);
    for (const offset of ["8", "9", "1000000", "9007199254740991", "99999999999999999999999999"]) {
      expect(await titles(`?offset=${offset}`)).toEqual(["", 8]);
      expect(await titles(`?offset=${offset}&tag=even`)).toEqual(["", 4]);
      expect(await titles(`?offset=${offset}&author=anna&favorited=anna`)).toEqual(["", 1]);
    }
    expect(await titles("?offset=2&limit=1&author=anna")).toEqual(["a2", 4]);
  });

  test("returns 20 articles per page by default, and at most 100", async () => {
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
    test(`rejects an invalid limit and offset by name: ${path}`, async () => {
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

  test("uses the first of a parameter that is given twice", async () => {
    expect(await titles("?limit=1&limit=2&author=anna&author=bert")).toEqual(["a4", 4]);
  });

  test("accepts parameters with percent and plus encoding", async () => {
    expect(await titles("?tag=first+b")).toEqual(["b1", 1]);
    expect(await titles("?tag=first%20b")).toEqual(["b1", 1]);
    expect(await titles("?%74ag=%66irst%20b")).toEqual(["b1", 1]);
  });

  test("shows each viewer their own favourites and follows in every list, and anonymous readers none", async () => {
    const flags = async (query: string, viewer?: TestUser) =>
      (await list(query, viewer)).articles
        .map(
          ({ title, favorited, favoritesCount, author }) =>
            `${title}${favoritesCount}${favorited ? "*" : ""}${author.following ? "+" : ""}`,
        )
        .join(" ");
    const anonymous = "b40 a41 b30 a30 b21 a21 b12 a10";
    expect(await flags("")).toBe(anonymous);
    expect(await flags("", bert)).toBe(anonymous);
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

  test("lists articles by followed authors, newest first, in pages, with the exact count", async () => {
    expect(await feed(anna)).toEqual(["b4 b3 b2 b1", 4]);
    expect(await feed(anna, "?limit=2&offset=1")).toEqual(["b3 b2", 4]);
    expect(await feed(anna, "?offset=4")).toEqual(["", 4]);
    expect(await feed(anna, "?offset=9007199254740991&limit=100")).toEqual(["", 4]);
    expect(await feed(bert)).toEqual(["", 0]);
  });

  test("merges the articles of several authors, and changes with every follow and unfollow", async () => {
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

  test("lists the newest article, also after the newest one of an author was deleted", async () => {
    // On a server of its own, because the other tests count all articles.
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

  test("shows articles without their bodies, with the viewer's favourites and follows", async () => {
    const { json } = await server.request("GET", "/api/articles/feed?offset=3", { token: anna.token });
    const { body: _, status: __, publishAt: ___, ...rest } = articles.b1 as ArticleJson;
    expect(json.articles).toEqual([
      { ...rest, favorited: true, favoritesCount: 2, author: { ...rest.author, following: true } } as ArticleJson,
    ]);
  });
});

describe("the statement of a list", () => {
  const FILTERS = ["tag", "author", "favorited"] as const;
  type Filters = { tag?: string; author?: string; favorited?: string };
  /** The eight sets of the three filters. */
  const SETS = Array.from({ length: 8 }, (_, set) => FILTERS.filter((_, i) => set & (2 ** i)));

  test(`returns what a model returns, with every set of filters, for each viewer, on every page (TEST_SEED=${SEED})`, async () => {
    const TAGS = ["x", "y", "z"];
    const own = await testServer();
    const first = await own.register("user0");
    const users = [first, ...((await addUsers(own, first, ["user1", "user2"])) as [TestUser, TestUser])];
    const random = createRandom(SEED);
    const model: { slug: string; tagList: string[]; author: string; favoritedBy: Set<string> }[] = [];
    for (let i = 0; i < 40; i++) {
      const author = random.pick(users);
      const tagList = TAGS.filter(() => random.chance(0.5));
      const { slug } = await own.publish(author, { title: `Article ${i}`, tagList });
      const favoritedBy = new Set<string>();
      for (const user of users) {
        if (!random.chance(0.5)) continue;
        await own.request("POST", `/api/articles/${slug}/favorite`, { token: user.token });
        favoritedBy.add(user.username);
      }
      model.unshift({ slug, tagList, author: author.username, favoritedBy });
    }

    for (const set of SETS) {
      for (const viewer of [undefined, ...users]) {
        const filters: Filters = {};
        for (const filter of set) filters[filter] = filter === "tag" ? random.pick(TAGS) : random.pick(users).username;
        const expected = model.filter(
          ({ tagList, author, favoritedBy }) =>
            (filters.tag === undefined || tagList.includes(filters.tag)) &&
            (filters.author === undefined || author === filters.author) &&
            (filters.favorited === undefined || favoritedBy.has(filters.favorited)),
        );
        for (const offset of [0, 3, expected.length, expected.length + 1]) {
          const query = new URLSearchParams({ ...filters, limit: "3", offset: String(offset) });
          const { json } = await own.request("GET", `/api/articles?${query}`, { token: viewer?.token });
          expect({
            query: String(query),
            count: json.articlesCount,
            articles: json.articles.map(({ slug, favorited }) => [slug, favorited]),
          }).toEqual({
            query: String(query),
            count: expected.length,
            articles: expected
              .slice(offset, offset + 3)
              .map(({ slug, favoritedBy }) => [slug, favoritedBy.has(viewer?.username ?? "")]),
          });
        }
      }
    }
    await own.stop();
  });

  test("is registered once for each set of filters, in a version for viewers and one for anonymous readers", async () => {
    const used: string[] = [];
    const db: typeof server.db = {
      ...server.db,
      rows: (statement, parameters) => {
        used.push(statement.name);
        return server.db.rows(statement, parameters);
      },
    };
    const before = statements.size;
    for (const viewer of [null, "1"]) {
      for (const set of SETS) {
        const filters: Filters = Object.fromEntries(set.map((filter) => [filter, "anna"]));
        await listArticles(db, viewer, { limit: 1, offset: 0, cursor: undefined, ...filters });
      }
    }
    const names = [
      "articles_all",
      "articles_by_tag",
      "articles_by_author",
      "articles_by_tag_author",
      "articles_by_favorited",
      "articles_by_tag_favorited",
      "articles_by_author_favorited",
      "articles_by_tag_author_favorited",
    ];
    expect(used).toEqual([...names.map((name) => `${name}_anonymous`), ...names]);
    // They were there before the first request, or `npm run check` could not prepare them.
    expect(statements.size).toBe(before);
  });

  test("reads no article for a page past the end, however far", async () => {
    const own = await testServer();
    await own.publish(await own.register("anna"));
    const { text, parameterNames } = statements.get("articles_all_anonymous") as Statement<unknown>;
    const values = { limit: 20, offset: 1, afterTime: "infinity", afterId: "0" } as Record<string, unknown>;
    const rows = await own.sql.unsafe(
      `explain (analyze, format json) ${text}`,
      parameterNames?.map((name) => values[name]),
    );
    const plan = JSON.stringify(rows[0]["QUERY PLAN"]);
    const scans = [...plan.matchAll(/"Relation Name":"articles".*?"Actual Loops":(\d+)/g)].map(([, loops]) =>
      Number(loops),
    );
    expect(scans.length).toBeGreaterThan(0);
    expect(Math.max(...scans)).toBe(0);
    await own.stop();
  });
});
