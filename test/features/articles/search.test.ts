import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { parseSearch } from "../../../src/features/articles/search/expression.ts";
import { indexNext } from "../../../src/features/articles/search/indexing.ts";
import { searchArticles } from "../../../src/features/articles/search/queries.ts";
import type { FoundArticle, SearchResults, Suggestions } from "../../../src/features/articles/search/schema.ts";
import { cleaned, wordsOf } from "../../../src/features/articles/search/words.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { expectExact } from "../../support/recounts.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  bert = await server.register("bert");
});
afterAll(() => server.stop());

/** Indexes everything that waits, as the server does in the background. */
async function indexAll(on = server): Promise<void> {
  while ((await indexNext(on.db)) > 0);
}

type New = { title?: string; description?: string; body?: string; tagList?: string[] };

async function publishAll(...articles: New[]): Promise<{ slug: string }[]> {
  const published: { slug: string }[] = [];
  for (const article of articles) {
    published.push(
      await server.publish(anna, { title: "Untitled", description: "Nothing", body: "Nothing", ...article }),
    );
  }
  await indexAll();
  return published;
}

const search = async (q: string, rest = "", token?: string): Promise<SearchResults> => {
  const { status, text } = await server.request("GET", `/api/search?q=${encodeURIComponent(q)}${rest}`, { token });
  expect(status).toBe(200);
  return JSON.parse(text);
};
const titlesOf = ({ articles }: { articles: { title: string }[] }) => articles.map(({ title }) => title);
const found = async (q: string, rest = "") => titlesOf(await search(q, rest));

describe("what is found", () => {
  test("title comes before tags, description and body, and every result is shaped like an article of a list", async () => {
    await publishAll(
      { title: "In the body", body: "A zeppelin." },
      { title: "In the description", description: "A zeppelin" },
      { title: "In the tags", tagList: ["zeppelin"] },
      { title: "A zeppelin" },
      { title: "In the body, often", body: "zeppelin ".repeat(300) },
    );
    const results = await search("zeppelin");
    expect(titlesOf(results)).toEqual([
      "A zeppelin",
      "In the tags",
      "In the description",
      "In the body, often",
      "In the body",
    ]);
    const { highlights, ...article } = results.articles[0] as FoundArticle;
    const listed = await server.request("GET", "/api/articles?q=zeppelin&limit=1");
    expect(JSON.parse(listed.text).articles).toEqual([article]);
    expect(results).toMatchObject({ articlesCount: 5, nextCursor: null, correctedQuery: null });
    expect(highlights).toEqual({ title: [{ start: 2, end: 10 }], description: [], body: null });
  });

  test("phrases, excluded words, alternatives, stems and accents mean what they do in a web search", async () => {
    await publishAll(
      { title: "Qa one", body: "quick brown foxes jumped" },
      { title: "Qb two", body: "brown quick fox" },
      { title: "Qc three", body: "crème brûlée, Ærøskøbing, naïve" },
    );
    expect(await found("fox quick")).toEqual(["Qb two", "Qa one"]);
    expect(await found('"quick brown"')).toEqual(["Qa one"]);
    expect(await found('fox -"quick brown"')).toEqual(["Qb two"]);
    expect(await found("fox -jumping")).toEqual(["Qb two"]);
    expect((await found('"brown quick" OR brulee')).sort()).toEqual(["Qb two", "Qc three"]);
    expect(await found("CREME brulée")).toEqual(["Qc three"]);
    expect(await found('"quick brown')).toEqual(["Qa one"]);
    expect(await found("Qa or")).toEqual(["Qa one"]);
  });

  test("all of many words are required, whether they are long or short", async () => {
    await publishAll(
      { title: "Va one", body: "marsupials, elephants, crocodiles, an ox" },
      { title: "Vb two", body: "marsupials, elephants, crocodiles, an owl" },
      { title: "Vc three", body: "an ox, an owl" },
    );
    expect(await found("ox marsupials an elephants crocodiles")).toEqual(["Va one"]);
    expect(await found("marsupials elephants crocodiles an -ox")).toEqual(["Vb two"]);
    expect((await found("marsupials elephants crocodiles ox or owl an")).sort()).toEqual([
      "Va one",
      "Vb two",
      "Vc three",
    ]);
  });

  test("C++, C#, .NET, dotted and hyphenated names are found as they are written", async () => {
    await publishAll(
      { title: "About C++17 templates" },
      { title: "About C# records" },
      { title: "About .NET" },
      { title: "About the letter C" },
      { title: "node.js and TCP/IP, foo-bar" },
    );
    expect(await found("C++")).toEqual(["About C++17 templates"]);
    expect(await found("c#")).toEqual(["About C# records"]);
    expect(await found(".net")).toEqual(["About .NET"]);
    expect(await found("letter c")).toEqual(["About the letter C"]);
    for (const q of ["node.js", "node js", "tcp/ip", "ip", "foo-bar", "foo bar"]) {
      expect([q, await found(q)]).toEqual([q, ["node.js and TCP/IP, foo-bar"]]);
    }
  });

  test("a part of a text without spaces is found in Chinese, Japanese, Korean and Thai", async () => {
    await publishAll(
      { title: "数据库全文搜索引擎" },
      { title: "ガラスの仮面" },
      { title: "전문검색엔진" },
      { title: "ภาษาไทยง่าย" },
    );
    expect(await found("全文搜索")).toEqual(["数据库全文搜索引擎"]);
    expect(await found("库数")).toEqual([]);
    expect(await found("カラス")).toEqual([]);
    expect(await found("ガラス")).toEqual(["ガラスの仮面"]);
    expect(await found("검색")).toEqual(["전문검색엔진"]);
    expect(await found("ไทย")).toEqual(["ภาษาไทยง่าย"]);
    expect((await search("全文")).articles[0]?.highlights.title).toEqual([{ start: 3, end: 5 }]);
  });

  test("a query of stop words only finds them, and one without words, or that only excludes, finds nothing", async () => {
    await publishAll({ title: "To be or not to be" });
    expect(await found('"to be or not to be"')).toEqual(["To be or not to be"]);
    expect(await found("the")).not.toContain("To be or not to be");
    for (const q of ["-", "- - -", "-be", "or", '""', "!!!", "&|!()<->:*", "' \\ %_", "_w11_0", "😀"]) {
      expect([q, (await search(q)).articlesCount]).toEqual([q, 0]);
    }
  });

  test("tag, author and favorited restrict a search, and an unknown one finds nothing", async () => {
    const [first] = await publishAll({ title: "Ocelot", tagList: ["o'\\x", "C++"] }, { title: "Ocelot at home" });
    await server.publish(bert, { title: "Ocelot by Bert", tagList: ["C++"] });
    await indexAll();
    await server.request("POST", `/api/articles/${first?.slug}/favorite`, { token: bert.token });
    const filtered = async (filter: string) =>
      titlesOf((await server.request("GET", `/api/articles?q=ocelot&${filter}`)).json).sort();
    expect(await filtered("")).toEqual(["Ocelot", "Ocelot at home", "Ocelot by Bert"]);
    expect(await filtered("author=BERT")).toEqual(["Ocelot by Bert"]);
    expect(await filtered("tag=C%2B%2B")).toEqual(["Ocelot", "Ocelot by Bert"]);
    expect(await filtered("tag=c%2B%2B")).toEqual([]);
    expect(await filtered(`tag=${encodeURIComponent("o'\\x")}`)).toEqual(["Ocelot"]);
    expect(await filtered("favorited=bert")).toEqual(["Ocelot"]);
    expect(await filtered("favorited=bert&author=anna&tag=C%2B%2B")).toEqual(["Ocelot"]);
    expect(await filtered("favorited=bert&author=bert")).toEqual([]);
    expect(await filtered("author=nobody")).toEqual([]);
    expect(await filtered("favorited=nobody")).toEqual([]);
    expect((await search("ocelot", "&favorited=bert", bert.token)).articles[0]?.favorited).toBe(true);
  });

  test("favourites raise an article among equal ones", async () => {
    const [loved] = await publishAll({ title: "Puffin loved" }, { title: "Puffin plain" });
    expect(await found("puffin")).toEqual(["Puffin plain", "Puffin loved"]);
    await server.request("POST", `/api/articles/${loved?.slug}/favorite`, { token: bert.token });
    expect(await found("puffin")).toEqual(["Puffin loved", "Puffin plain"]);
  });

  test("highlights are the ranges of stems in title, description and an excerpt of the body", async () => {
    await publishAll({
      title: "😀 Wombats: a café",
      description: "The wombat's home",
      tagList: ["C++", "a b"],
      body: `${"Something else. ".repeat(40)}1e5 0x1F 2nd Here is a <b>wombat</b>. ${"More text. ".repeat(40)}`,
    });
    const { title, description, highlights } = (await search("wombat cafe")).articles[0] as FoundArticle;
    const cut = (text: string, ranges: { start: number; end: number }[]) =>
      ranges.map(({ start, end }) => text.slice(start, end));
    expect(cut(title, highlights.title)).toEqual(["Wombats", "café"]);
    expect(cut(description, highlights.description)).toEqual(["wombat"]);
    expect(cut(highlights.body?.text ?? "", highlights.body?.ranges ?? [])).toEqual(["wombat"]);
    expect(highlights.body?.text.length).toBeLessThanOrEqual(240);
    // From the beginning of a word, shortly before the match.
    expect(highlights.body?.text).toMatch(/^else\. .{0,80}Here is a wombat\. More/);
  });
});

describe("typing errors", () => {
  test("are corrected where nothing is found, in titles and tags, and the response says so", async () => {
    await publishAll({ title: "Kubernetes operators", tagList: ["postgresql"] });
    const results = await search('kubernets "operatrs" -postgrsql or postgersql');
    expect(results.correctedQuery).toBe("kubernetes operators -postgrsql or postgresql");
    expect(titlesOf(results)).toEqual(["Kubernetes operators"]);
    expect(await search("xqzwvk")).toMatchObject({ articles: [], correctedQuery: null });
  });

  test("are not corrected without pg_trgm, and everything else works", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    await other.sql`drop extension pg_trgm cascade`;
    await other.publish(dora, { title: "Kubernetes operators" });
    await indexAll(other);
    expect((await other.request("GET", "/api/search?q=kuberntes")).json).toMatchObject({ articles: [] });
    expect((await other.request("GET", "/api/search?q=kubernetes")).json.articlesCount).toBe(1);
    const suggested = await other.request("GET", "/api/search/suggestions?q=dorra");
    expect(JSON.parse(suggested.text)).toEqual({ titles: [], tags: [], usernames: [] });
  });
});

describe("suggestions", () => {
  test("are titles whose last word is incomplete, tags and usernames with the prefix, or similar usernames", async () => {
    const [loved] = await publishAll(
      { title: "Gardening for beginners", tagList: ["gardens"] },
      { title: "Gardens of the world", body: "gardenia" },
      { title: "Elsewhere", description: "gardens of the world", body: "gardens" },
    );
    await server.request("POST", `/api/articles/${loved?.slug}/favorite`, { token: bert.token });
    await server.register("gardener");
    const suggest = async (q: string): Promise<Suggestions> =>
      JSON.parse((await server.request("GET", `/api/search/suggestions?q=${encodeURIComponent(q)}`)).text);
    expect(await suggest("garden")).toEqual({
      titles: [
        { slug: "gardening-for-beginners", title: "Gardening for beginners" },
        { slug: "gardens-of-the-world", title: "Gardens of the world" },
      ],
      tags: ["gardens"],
      usernames: ["gardener"],
    });
    expect((await suggest("world gar")).titles).toEqual([
      { slug: "gardens-of-the-world", title: "Gardens of the world" },
    ]);
    expect((await suggest("GARDE")).usernames).toEqual(["gardener"]);
    expect((await suggest("gradener")).usernames).toEqual(["gardener"]);
    expect((await suggest("g")).titles).toEqual([]);
    expect(await suggest("  ")).toEqual({ titles: [], tags: [], usernames: [] });
    expect(await suggest("%_\\'*:")).toEqual({ titles: [], tags: [], usernames: [] });
  });
});

describe("pages", () => {
  test("have each result once, in the same order, while others publish and delete", async () => {
    const articles = await publishAll(...Array.from({ length: 25 }, (_, i) => ({ title: `Walrus ${i}` })));
    const seen: string[] = [];
    let path: string | null = "/api/search?q=walrus&limit=10";
    while (path !== null) {
      const { json, headers } = await server.request("GET", path);
      seen.push(...titlesOf(json));
      path = headers.get("Link")?.match(/^<(.*)>; rel="next"$/)?.[1] ?? null;
      expect(path === null).toBe(json.nextCursor === null);
      await publishAll({ title: "Walrus new" });
      await server.request("DELETE", `/api/articles/${articles[20]?.slug}`, { token: anna.token });
    }
    // Equal results come newest first. Number 20 was on the first page.
    expect(seen).toEqual(Array.from({ length: 25 }, (_, i) => `Walrus ${24 - i}`));
    expect(await found("walrus", "&limit=2&offset=3")).toEqual(["Walrus 24", "Walrus 23"]);
  });

  test("a cursor of a list is invalid in a search, and the other way round", async () => {
    const list = (await server.request("GET", "/api/articles?limit=1")).json.nextCursor;
    const results = (await search("walrus", "&limit=1")).nextCursor;
    for (const path of [
      `/api/search?q=walrus&cursor=${list}`,
      `/api/articles?q=walrus&cursor=${list}`,
      `/api/articles?cursor=${results}`,
    ]) {
      const { status, json } = await server.request("GET", path);
      expect([path, status, json.errors]).toEqual([path, 422, { cursor: ["is invalid"] }]);
    }
    expect((await server.request("GET", `/api/articles?q=walrus&cursor=${results}`)).status).toBe(200);
  });
});

describe("the index", () => {
  test("follows edits and deletions, also of users, and deleted articles are gone at once", async () => {
    const [article] = await publishAll({ title: "Narwhal", body: "Tusk", tagList: ["sea"] });
    const path = `/api/articles/${article?.slug}`;
    const { json } = await server.request("PUT", path, {
      token: anna.token,
      body: { article: { title: "Unicorn", body: "Horn", tagList: ["tale"] } },
    });
    await indexAll();
    expect(await found("narwhal")).toEqual([]);
    expect(await found("tusk")).toEqual([]);
    expect(await found("unicorn horn tale")).toEqual(["Unicorn"]);
    await server.request("DELETE", `/api/articles/${json.article.slug}`, { token: anna.token });
    expect(await found("unicorn")).toEqual([]);
    await indexAll();
    const carl = await server.register("carl");
    await server.publish(carl, { title: "Quagga" });
    await indexAll();
    await server.sql`delete from users where username = 'carl'`;
    expect(await found("quagga")).toEqual([]);
    await indexAll();
    await expectExact(server);
    expect(await server.sql`select * from article_search where article_id not in (select id from articles)`).toEqual(
      [],
    );
  });

  test("takes an article again when its favourites get another digit, and not otherwise", async () => {
    const [article] = await publishAll({ title: "Dugong" });
    const [{ id }] = await server.sql`select id from articles where slug = ${article?.slug}`;
    const marks = async () => {
      await indexAll();
      const [row] =
        await server.sql`select tsvector_to_array(head) as words from article_search where article_id = ${id}`;
      return row.words.filter((word: string) => word.startsWith("_f"));
    };
    await server.sql`update articles set favorites_count = 9 where id = ${id}`;
    expect(await server.sql`select id from search_queue`).toEqual([]);
    await server.sql`update articles set favorites_count = 100 where id = ${id}`;
    expect(await marks()).toEqual(["_f2", "_f3"]);
    await server.sql`update articles set favorites_count = 0 where id = ${id}`;
    expect(await marks()).toEqual([]);
  });

  test("several servers index every article once, and what a server that ended was indexing is not lost", async () => {
    const other = await testServer({ address: server.address });
    for (let i = 0; i < 60; i++) await server.publish(anna, { title: `Lemming ${i}` });
    // A server that ends in the middle of its work.
    const connection = await server.sql.reserve();
    await connection`begin`;
    await connection`select pg_advisory_xact_lock(hashtextextended('conduit search index', 0))`;
    await connection`delete from search_queue`;
    expect(await indexNext(other.db)).toBe(0);
    await connection`rollback`;
    connection.release();
    let taken = 0;
    const work = async (db: TestServer["db"]) => {
      for (;;) {
        const entries = await indexNext(db);
        taken += entries;
        if ((await server.sql`select from search_queue limit 1`).length === 0) return;
      }
    };
    await Promise.all([work(server.db), work(other.db)]);
    expect(taken).toBe(60);
    expect((await search("lemming", "&limit=100")).articlesCount).toBe(60);
  });

  test("a word of 60 % of all articles has 200 to 400 results, among them the newest and the best loved", async () => {
    const other = await testServer();
    const dora = await other.register("dora");
    await other.sql`
      insert into articles (author_id, slug, title, description, body)
      select u.id, 'common-' || n, case when n % 5 < 3 then 'A common system' else 'Other' end, 'd', 'b'
        from users u, generate_series(1, 9000) n order by n`;
    await other.sql`update articles set favorites_count = 200 where slug = 'common-2'`;
    await indexAll(other);
    const { json } = await other.request("GET", "/api/search?q=system&limit=1");
    expect(json.articlesCount).toBeGreaterThanOrEqual(200);
    expect(json.articlesCount).toBeLessThanOrEqual(400);
    expect(json.articles[0]?.slug).toBe("common-2");
    const fresh = await other.publish(dora, { title: "A common system", description: "d", body: "b" });
    await indexAll(other);
    const { articles } = (await other.request("GET", "/api/search?q=system&limit=2")).json;
    expect(articles.map(({ slug }: { slug: string }) => slug)).toEqual(["common-2", fresh.slug]);
  }, 60_000);
});

describe("hostile texts", () => {
  test("of any length are indexed in parts, and do not stop the index", async () => {
    const texts = {
      addresses: "@t1".repeat(300_000),
      words: Array.from({ length: 30_000 }, (_, i) => `w${i}${"x".repeat(20)}`).join(" "),
      letters: "a".repeat(1_000_000),
      ligatures: "ﷺ".repeat(300_000),
      ideographs: Array.from({ length: 300_000 }, (_, i) => String.fromCodePoint(0x4e00 + (i % 20_000))).join(""),
      marks: `a${"\u0301".repeat(400_000)}`,
    };
    for (const [title, body] of Object.entries(texts)) await server.publish(anna, { title: `Hostile ${title}`, body });
    await indexAll();
    expect((await found("hostile")).sort()).toEqual(
      Object.keys(texts)
        .map((title) => `Hostile ${title}`)
        .sort(),
    );
  }, 60_000);

  test("as queries are bounded", async () => {
    const queries = [
      "a ".repeat(100),
      `${"-".repeat(199)}a`,
      `${'"'.repeat(199)}a`,
      "a or ".repeat(40),
      "-a -b -c or -d",
      "s:*",
      "((((((((((",
      "@t1".repeat(60),
      "搜".repeat(200),
      "ﷺ".repeat(200),
      "\u0301".repeat(200),
      "a\u0301".repeat(100),
      "a <-> b & !c",
    ];
    for (const q of queries) {
      for (const path of ["/api/search", "/api/articles", "/api/search/suggestions"]) {
        const { status } = await server.request("GET", `${path}?q=${encodeURIComponent(q)}`);
        expect([q, path, status]).toEqual([q, path, 200]);
      }
    }
    for (const path of ["/api/search", "/api/articles", "/api/search/suggestions"]) {
      const { status, json } = await server.request("GET", `${path}?q=${"x".repeat(201)}`);
      expect([status, json.errors]).toEqual([422, { q: ["is too long (maximum is 200 characters)"] }]);
    }
    expect((await server.request("GET", "/api/search")).json.errors).toEqual({ q: ["can't be blank"] });
    const many = parseSearch(Array.from({ length: 100 }, (_, i) => `w${i}`).join(" "));
    expect(many.flat().length).toBe(8);
  });
});

test("PostgreSQL sees as many words in a cleaned text as the program, so highlights are in the right place", async () => {
  const text =
    "1e5 2nd 0x1F 12.5 a1b2 3D ünïcode Привет κόσμε שלום مرحبا हिन्दी 全文 ガラス x86_64 ½ ② ℌello ﬁne ß İstanbul";
  const [row] = await server.sql`select max(position) as last
    from unnest(to_tsvector('article', ${cleaned(text)})) as l, unnest(l.positions) as position`;
  expect(row.last).toBe(wordsOf(text).length);
});

test("searchArticles serves pages, too", async () => {
  const filters = { q: "hostile", limit: 1, offset: 0, cursor: undefined };
  expect(await searchArticles(server.db, null, filters)).toMatchObject({ articlesCount: 6, viewerGone: false });
});
