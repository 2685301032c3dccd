import { beforeAll, describe, expect, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { type Statement, statements } from "../../src/db/statements.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let author: TestUser;
beforeAll(async () => {
  server = await testServer();
  author = await server.register("author");
  await server.publish(author, { title: "First" });
  // Three pages, with a gap where an old one was.
  await server.sql`insert into articles (id, author_id, slug, title, description, body, updated_at) overriding system value
    select i, u.id, 'a' || i, 'A', 'd', 'b', timestamptz '2024-01-01' + i * interval '1 second'
      from users u, generate_series(10001, 15001) i`;
});

type Listed = { url: string; lastmod: string };

/** The addresses in a sitemap, which follows the rules of https://www.sitemaps.org/protocol.html. */
async function read(path: string, root: "sitemapindex" | "urlset", on = server): Promise<Listed[]> {
  const { status, text, headers } = await on.request("GET", path);
  expect([path, status, headers.get("Content-Type")]).toEqual([path, 200, "application/xml; charset=utf-8"]);
  const item = root === "urlset" ? "url" : "sitemap";
  const pattern = new RegExp(
    `^<\\?xml version="1\\.0" encoding="utf-8"\\?><${root} xmlns="http://www\\.sitemaps\\.org/schemas/sitemap/0\\.9">(?:<${item}><loc>[^<>"']*</loc><lastmod>[^<>]*</lastmod></${item}>)*</${root}>$`,
  );
  expect(text).toMatch(pattern);
  expect(text).not.toMatch(/&(?!amp;|lt;|gt;|quot;|#39;)/);
  expect(Buffer.byteLength(text)).toBeLessThan(50 * 1024 * 1024);
  const listed = [...text.matchAll(/<loc>(.*?)<\/loc><lastmod>(.*?)<\/lastmod>/g)].map(
    ([, url = "", lastmod = ""]) => ({
      url: url.replaceAll("&amp;", "&"),
      lastmod,
    }),
  );
  expect(listed.length).toBeLessThanOrEqual(50_000);
  for (const { url, lastmod } of listed) {
    expect(new URL(url).href.length).toBeLessThan(2_048);
    expect(new Date(lastmod).toISOString()).toBe(lastmod);
  }
  return listed;
}

/** Also the path, which a sitemap may not leave. */
const pathIn = (url: string, on: string): string => {
  expect(url).toStartWith(`${on}/`);
  return url.slice(on.length);
};

describe("the sitemap", () => {
  test("lists every article once, in pages that its index lists", async () => {
    const pages = await read("/sitemap.xml", "sitemapindex");
    expect(pages.map(({ url }) => url)).toEqual([3, 2, 0].map((page) => `${server.url}/sitemap.xml?page=${page}`));
    const urls: string[] = [];
    for (const page of pages) {
      const articles = await read(pathIn(page.url, server.url), "urlset");
      expect(
        articles
          .map(({ lastmod }) => lastmod)
          .sort()
          .at(-1),
      ).toBe(page.lastmod);
      urls.push(...articles.map(({ url }) => url));
    }
    const slugs = (await server.sql`select slug from articles`).map(({ slug }: { slug: string }) => slug);
    expect(urls.sort()).toEqual(slugs.map((slug: string) => `${server.url}/article/${slug}`).sort());
    expect((await fetch(urls[1] ?? "")).status).toBe(200);
  });

  test("says when an article was edited, in the index too", async () => {
    const { json } = await server.request("PUT", "/api/articles/first", {
      token: author.token,
      body: { article: { body: "Edited" } },
    });
    const { updatedAt } = json.article;
    expect((await read("/sitemap.xml", "sitemapindex")).at(-1)?.lastmod).toBe(updatedAt);
    expect((await read("/sitemap.xml?page=0", "urlset")).map(({ lastmod }) => lastmod)).toEqual([updatedAt]);
  });

  test("is validated by its tag, and compressed", async () => {
    for (const path of ["/sitemap.xml", "/sitemap.xml?page=0"]) {
      const { headers } = await fetch(server.url + path, { headers: { "Accept-Encoding": "gzip" } });
      expect(headers.get("Content-Encoding")).toBe("gzip");
      const known = await fetch(server.url + path, { headers: { "If-None-Match": headers.get("ETag") ?? "" } });
      expect(known.status).toBe(304);
    }
  });

  test("has no pages without articles, and rejects what is no page", async () => {
    for (const page of [1, 999_999_999]) {
      expect((await server.request("GET", `/sitemap.xml?page=${page}`)).status).toBe(404);
    }
    for (const page of ["", "x", "-1", "1e3", "9999999999"]) {
      const { status, json } = await server.request("GET", `/sitemap.xml?page=${page}`);
      expect([page, status, json.errors]).toEqual([page, 422, { page: ["must be a whole number from 0"] }]);
    }
  });

  test("has an index that reads a key for each page, and no other rows", async () => {
    const { text } = statements.get("sitemap_pages") as Statement<unknown>;
    const rows = await server.sql.unsafe(`explain (analyze, costs off) ${text.replace("$1", "50000")}`);
    const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
    // Three pages, and the end.
    expect(plan).toMatch(/using articles_sitemap_idx on articles \(actual .* rows=1(\.00)? loops=1\)/);
    expect(plan).toMatch(/using articles_sitemap_idx on articles articles_1 \(actual .* rows=(0\.67|1) loops=3\)/);
    expect(plan).not.toMatch(/Seq Scan|Sort/);
  });

  test("leads to a front end elsewhere, and lists its own pages here", async () => {
    const links = loadConfig({ SITE_URL: "https://reader.example", ARTICLE_PATH: "/read?a={slug}&from=map" });
    const api = await testServer({ address: server.address, baseUrl: "https://api.example", links, web: false });
    const [page] = await read("/sitemap.xml", "sitemapindex", api);
    expect(page?.url).toBe("https://api.example/sitemap.xml?page=3");
    expect((await read("/sitemap.xml?page=0", "urlset", api))[0]?.url).toBe(
      "https://reader.example/read?a=first&from=map",
    );
    expect((await api.request("GET", "/robots.txt")).text).toBe(
      "User-agent: *\nAllow: /sitemap.xml\nDisallow: /\n\nSitemap: https://api.example/sitemap.xml\n",
    );
  });
});

test.each(["read/{slug}", "//{slug}", "/read", "/{slug}/{slug}", "/{slug} x", '/"{slug}'])(
  "ARTICLE_PATH=%s is rejected",
  (path) => {
    expect(() => loadConfig({ ARTICLE_PATH: path })).toThrow("ARTICLE_PATH must be a path with {slug}");
  },
);
