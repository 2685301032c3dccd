import { beforeAll, describe, expect, test } from "bun:test";
import { indexNext } from "../../src/features/articles/search/indexing.ts";
import { type TestBrowser, testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let browser: TestBrowser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  const bert = await server.register("bert");
  for (let i = 1; i <= 12; i++) {
    await server.publish(i <= 11 ? anna : bert, {
      title: `Sourdough <${i}>`,
      description: "Bread & <b>butter</b>",
      body: "Feed the <script>sourdough</script> **daily** with `<script>flour</script>` and [water](/water)",
      tagList: i % 2 === 0 ? ["even"] : [],
    });
  }
  while ((await indexNext(server.db)) > 0);
  browser = testBrowser(server);
});

const titles = (text: string) => [...text.matchAll(/<h1 class="preview-title"[^>]*>(.*?)<\/h1>/g)].map(([, it]) => it);
const search = (query: string) => browser.get(`/search${query}`);

describe("the search page", () => {
  test("marks the words, takes out the marks of Markdown, and escapes everything else", async () => {
    const { status, text, headers } = await search("?q=sourdough+7");
    expect([status, headers.get("X-Robots-Tag")]).toEqual([200, "noindex"]);
    expect(titles(text)).toEqual(["<mark>Sourdough</mark> &lt;<mark>7</mark>&gt;"]);
    expect(text).toContain("Bread &amp; &lt;b&gt;butter&lt;/b&gt;");
    expect(text).toContain(
      "Feed the <mark>sourdough</mark> daily with &lt;script&gt;flour&lt;/script&gt; and water</p>",
    );
    expect(text).toContain('name="q" type="search" aria-describedby="q-hint" value="sourdough 7"');
  });

  test("leads from page to page, to every result once, and back", async () => {
    const first = (await search("?q=sourdough&tag=&author=anna")).text;
    expect(first).toContain("11 articles");
    expect(first).not.toContain("First results");
    const next = /rel="next" href="([^"]*)"/.exec(first)?.[1]?.replaceAll("&amp;", "&") ?? "";
    expect(next).toStartWith("/search?q=sourdough&author=anna&cursor=");
    const second = (await browser.get(next)).text;
    expect(second).toContain('href="/search?q=sourdough&amp;author=anna"');
    expect(second).not.toContain('rel="next"');
    const all = [...titles(first), ...titles(second)];
    expect([all.length, new Set(all).size]).toEqual([11, 11]);
  });

  test("filters by tag and author, and keeps both in the form", async () => {
    const { text } = await search("?q=sourdough&tag=even&author=BERT");
    expect(titles(text)).toEqual(["<mark>Sourdough</mark> &lt;12&gt;"]);
    expect(text).toContain('name="tag" type="text" value="even"');
    expect(text).toContain('name="author" type="text" value="BERT"');
  });

  test("says so if nothing matches, or if it has corrected the words", async () => {
    expect((await search("?q=zebra%3Cb%3E")).text).toContain("No articles match “zebra&lt;b&gt;”.");
    expect((await search("?q=sourdough&tag=none")).text).toContain("“sourdough” with these filters.");
    const { text } = await search("?q=sourdouhg");
    expect(text).toContain("No articles match “sourdouhg”. These match “sourdough”: 12 articles");
    expect(text).toContain('href="/search?q=sourdough&amp;cursor=');
  });

  test("has only the form without words, and shows what is wrong with a search", async () => {
    for (const query of ["", "?q=", "?q=+"]) {
      const { status, text } = await search(query);
      expect([status, text.includes("error-messages"), titles(text)]).toEqual([200, false, []]);
    }
    const long = await search(`?q=${"x".repeat(201)}`);
    expect([long.status, long.text]).toEqual([
      422,
      expect.stringContaining("The search is too long (maximum is 200 characters)."),
    ]);
    expect((await search("?q=x&cursor=nonsense")).status).toBe(422);
  });

  test("shows signed-in readers their own flags", async () => {
    const reader = testBrowser(server);
    await reader.signIn(anna);
    await server.request("POST", "/api/articles/sourdough-12/favorite", { token: anna.token });
    expect((await reader.get("/search?q=sourdough+12")).text).toContain('aria-label="Unfavorite Sourdough');
    expect((await search("?q=sourdough+12")).text).toContain('aria-label="Favorite Sourdough');
  });
});

test("every page has a search box, whose button is not the page's first submit button", async () => {
  for (const path of ["/", "/login", "/register", "/article/sourdough-1", "/profile/anna", "/nowhere"]) {
    const { text } = await browser.get(path);
    expect([path, text.match(/<form action="\/search">/g)?.length]).toEqual([path, 1]);
    expect([path, /<search.*?<\/search>/s.exec(text)?.[0].includes('type="submit"')]).toEqual([path, false]);
  }
  expect((await search("")).text.match(/<form action="\/search">/g)?.length).toBe(1);
});
