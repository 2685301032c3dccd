import { beforeAll, describe, expect, test } from "bun:test";
import Parser from "rss-parser";
import { loadConfig } from "../../src/config/settings.ts";
import { testBrowser } from "../support/browser.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../support/harness.ts";

/** What XML cannot contain, what ends a CDATA section, and what looks like markup. */
const HOSTILE = "a ]]> b ]]> <b>&amp; &lt; \u0001\u000b\u001f\ufffe\uffff 😀 \"'";
const IN_XML = "a ]]> b ]]> <b>&amp; &lt;  😀 \"'";
/** What XML 1.0, 2.2 does not allow. */
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

let server: TestServer;
let author: TestUser;
let other: TestUser;
let hostile: ArticleJson;
beforeAll(async () => {
  server = await testServer();
  const username = "Aña & Söhne";
  author = { ...(await server.register("anna")), username };
  await server.request("PUT", "/api/user", { token: author.token, body: { user: { username } } });
  other = await server.register("other");
  await server.publish(other, { title: "Of the other", tagList: ["tea"], body: "A *body* <script>alert(1)</script>" });
  hostile = await server.publish(author, {
    title: HOSTILE,
    description: HOSTILE,
    body: `# Heading\n\n${HOSTILE} <script>alert(1)</script>\n\n[a](/about) [b](other-article) [c](#notes) ![d](/d.png) [e](https://example.com/?a=1&b=2) [f](/javascript:alert(1)) [g](./javascript:alert(2)) \`[x](/y)\``,
    tagList: ["tea & <cake>", "tea"],
  });
});

const enc = encodeURIComponent;
const LISTS = (): [path: string, articles: number][] => [
  ["", 2],
  [`/profile/${enc(author.username)}`, 1],
  ["/tag/tea", 2],
  [`/tag/${enc("tea & <cake>")}`, 1],
  ["/tag/nothing", 0],
];
const XML_FORMATS = ["atom", "rss"] as const;

const load = async (path: string, on = server): Promise<string> => {
  const { status, text } = await on.request("GET", path);
  expect([path, status]).toEqual([path, 200]);
  return text;
};

type JsonFeed = {
  version: string;
  feed_url: string;
  home_page_url: string;
  items: { id: string; url: string; title: string; summary: string; content_html?: string; tags: string[] }[];
};
const loadJson = async (path: string, on = server): Promise<JsonFeed> => JSON.parse(await load(path, on));

/** What the reader's own type leaves out. */
type Item = { id: string; author: unknown; category: unknown; "content:encoded": string };

/** A feed as a feed reader understands it, whose XML parser is strict. */
async function readXml(path: string, on = server) {
  const text = await load(path, on);
  expect(NOT_XML.exec(text)).toBeNull();
  return new Parser<object, Item>({ customFields: { item: ["id", "author", "category"] } }).parseString(text);
}

describe.each(XML_FORMATS)("the %s feed", (format) => {
  test("of every list is one that a feed reader understands, with the address of itself", async () => {
    for (const [path, articles] of LISTS()) {
      const feed = await readXml(`${path}/feed.${format}`);
      expect([path, feed.items.length]).toEqual([path, articles]);
      expect(feed.feedUrl).toBe(`${server.url}${path}/feed.${format}`);
      expect(feed.link).toBe(`${server.url}${path || "/"}`);
    }
  });

  test("shows texts as they were written, whatever they contain", async () => {
    const [item] = (await readXml(`/feed.${format}`)).items;
    expect(item?.title).toBe(IN_XML);
    expect(item?.link).toBe(`${server.url}/article/${hostile.slug}`);
    expect(item?.isoDate?.slice(0, 19)).toBe(hostile.publishedAt.slice(0, 19));
    const summary = format === "atom" ? item?.summary : unescaped(item?.content ?? "");
    expect(summary).toBe(IN_XML);
    const [name, tags] = format === "atom" ? [item?.author, item?.category] : [item?.creator, item?.categories];
    expect(JSON.stringify(name)).toContain(author.username);
    expect(JSON.stringify(tags)).toContain("tea & <cake>");
  });

  test("has the body as HTML that is safe, with whole addresses", async () => {
    const [item] = (await readXml(`/feed.${format}`)).items;
    expectWholeSafeHtml((format === "atom" ? item?.content : item?.["content:encoded"]) ?? "");
  });
});

/** In RSS, readers take a description for HTML. */
const unescaped = (html: string): string =>
  html
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#x27;", "'")
    .replaceAll("&amp;", "&");

function expectWholeSafeHtml(html: string): void {
  expect(html).toContain("<h2>Heading</h2>");
  expect(html).not.toContain("<script");
  expect(html).toContain(`href="${server.url}/about"`);
  expect(html).toContain(`href="${server.url}/article/other-article"`);
  expect(html).toContain(`href="${server.url}/article/${hostile.slug}#notes"`);
  expect(html).toContain(`src="${server.url}/d.png"`);
  expect(html).toContain('href="https://example.com/?a=1&amp;b=2"');
  expect(html).toContain(`href="${server.url}/javascript:alert(1)"`);
  expect(html).toContain(`href="${server.url}/article/javascript:alert(2)"`);
  expect(html).toContain("<code>[x](/y)</code>");
}

describe("the JSON feed", () => {
  test("of every list follows JSON Feed 1.1", async () => {
    for (const [path, articles] of LISTS()) {
      const feed = await loadJson(`${path}/feed.json`);
      expect(feed).toMatchObject({
        version: "https://jsonfeed.org/version/1.1",
        feed_url: `${server.url}${path}/feed.json`,
        home_page_url: `${server.url}${path || "/"}`,
      });
      expect([path, feed.items.length]).toEqual([path, articles]);
      for (const item of feed.items) {
        expect(item.id).toMatch(/^urn:uuid:[0-9a-f-]{36}$/);
        expect(item.url).toStartWith(`${server.url}/article/`);
      }
    }
  });

  test("has texts as they were written, and the body as HTML that is safe, with whole addresses", async () => {
    const [item] = (await loadJson("/feed.json")).items;
    expect(item).toMatchObject({ title: HOSTILE, summary: HOSTILE, tags: ["tea & <cake>", "tea"] });
    expectWholeSafeHtml(item?.content_html ?? "");
  });
});

describe("an entry", () => {
  test("has the same id in every feed, after an edit of the title, and on another address of the server", async () => {
    const { slug } = await server.publish(other, { title: "Before", tagList: ["ids"] });
    const ids = async (on = server) => {
      const [atom, rss] = await Promise.all(XML_FORMATS.map((format) => readXml(`/tag/ids/feed.${format}`, on)));
      return [atom?.items[0]?.id, rss?.items[0]?.guid, (await loadJson("/feed.json", on)).items[0]?.id];
    };
    const before = await ids();
    expect(new Set(before).size).toBe(1);
    await server.request("PUT", `/api/articles/${slug}`, {
      token: other.token,
      body: { article: { title: "After" } },
    });
    expect(await ids()).toEqual(before);
    const elsewhere = await testServer({ address: server.address, baseUrl: "https://conduit.example/path" });
    expect(await ids(elsewhere)).toEqual(before);
    await server.request("DELETE", "/api/articles/after", { token: other.token });
    expect(await ids()).not.toEqual(before);
  });

  test("has no body if that is too long for a feed, and those after it have theirs", async () => {
    await server.publish(other, { title: "Short", tagList: ["long"], body: "A short body" });
    await server.publish(other, { title: "Long", tagList: ["long"], body: "long ".repeat(14_000) });
    const { items } = await loadJson("/tag/long/feed.json");
    expect(items.map(({ title, content_html }) => [title, content_html])).toEqual([
      ["Long", undefined],
      ["Short", "<p>A short body</p>\n"],
    ]);
  });

  test("is among the 20 newest, however many bodies there are, within 2 MiB", async () => {
    const body = "<b>".repeat(16_000);
    for (let i = 0; i < 22; i++) await server.publish(other, { title: `Many ${i}`, tagList: ["many"], body });
    for (const extension of ["atom", "rss", "json"]) {
      const text = await load(`/tag/many/feed.${extension}`);
      expect(text.match(/Many \d+/g)?.length).toBe(20);
      expect(Buffer.byteLength(text)).toBeLessThan(2 * 1024 * 1024);
    }
  });
});

describe("a feed", () => {
  test("is validated by its tag, and compressed", async () => {
    for (const extension of ["atom", "rss", "json"]) {
      const url = `${server.url}/feed.${extension}`;
      const { status, headers } = await fetch(url, { headers: { "Accept-Encoding": "gzip" } });
      expect([status, headers.get("Content-Encoding"), headers.get("Cache-Control")]).toEqual([
        200,
        "gzip",
        "no-cache",
      ]);
      const known = await fetch(url, { headers: { "If-None-Match": headers.get("ETag") ?? "" } });
      expect([known.status, await known.text()]).toEqual([304, ""]);
    }
  });

  test("shows what is published, edited and deleted at once, and a renamed author", async () => {
    const writer = await server.register("writer");
    const titles = async () => (await loadJson("/profile/writer/feed.json")).items.map(({ title }) => title);
    expect(await titles()).toEqual([]);
    const { slug } = await server.publish(writer, { title: "One", body: "First" });
    expect(await titles()).toEqual(["One"]);
    await server.request("PUT", `/api/articles/${slug}`, {
      token: writer.token,
      body: { article: { body: "Second" } },
    });
    expect((await loadJson("/profile/writer/feed.json")).items[0]?.content_html).toBe("<p>Second</p>\n");
    await server.request("PUT", "/api/user", { token: writer.token, body: { user: { username: "renamed" } } });
    const moved = await server.request("GET", "/profile/writer/feed.json");
    expect([moved.status, moved.headers.get("Location")]).toEqual([308, "/profile/renamed/feed.json"]);
    expect((await loadJson("/profile/renamed/feed.json")).items.length).toBe(1);
    await server.request("DELETE", `/api/articles/${slug}`, { token: writer.token });
    expect((await loadJson("/profile/renamed/feed.json")).items).toEqual([]);
  });

  test("of nobody is 404", async () => {
    for (const extension of ["atom", "rss", "json"]) {
      expect((await server.request("GET", `/profile/nobody/feed.${extension}`)).status).toBe(404);
    }
  });

  test("is named by the pages with the same articles", async () => {
    const browser = testBrowser(server);
    for (const [path, feed] of [
      ["/", ""],
      ["/?page=2", ""],
      ["/tag/tea", "/tag/tea"],
      [`/profile/${enc(author.username)}`, `/profile/${enc(author.username)}`],
    ] as const) {
      const { text } = await browser.get(path);
      const found = [...text.matchAll(/<link rel="alternate" type="([^"]*)" title="[^"]+" href="([^"]*)"/g)];
      expect(found.map(([, type, href]) => [type, href])).toEqual([
        ["application/atom+xml", `${feed}/feed.atom`],
        ["application/rss+xml", `${feed}/feed.rss`],
        ["application/feed+json", `${feed}/feed.json`],
      ]);
      for (const [, , href = ""] of found) await load(href);
    }
  });
});

test("links lead to a front end elsewhere, and the feed's own address to this server", async () => {
  const links = loadConfig({
    SITE_URL: "https://reader.example/app/",
    ARTICLE_PATH: "/#/read/{slug}",
    PROFILE_PATH: "/people/{username}/all",
    TAG_PATH: "/topics?name={tag}",
  });
  const elsewhere = await testServer({ address: server.address, baseUrl: "https://api.example/v1", links, web: false });
  const feed = await loadJson("/tag/tea/feed.json", elsewhere);
  expect(feed.feed_url).toBe("https://api.example/v1/tag/tea/feed.json");
  expect(feed.home_page_url).toBe("https://reader.example/app/topics?name=tea");
  expect(feed.items.at(-1)?.url).toBe("https://reader.example/app/#/read/of-the-other");
  const path = `/profile/${enc(author.username)}/feed.atom`;
  const [item] = (await readXml(path, elsewhere)).items;
  expect(await load(path, elsewhere)).toContain(
    `<uri>https://reader.example/app/people/${enc(author.username)}/all</uri>`,
  );
  expect(item?.content).toContain('href="https://reader.example/app/about"');
});
