import { beforeAll, describe, expect, test } from "bun:test";
import { type TestBrowser, testBrowser, textOf } from "../support/browser.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../support/harness.ts";

/** What breaks a page that does not escape it, in text, in an attribute and in a script. */
const HOSTILE = `"><script>alert(1)</script><img src=x onerror=alert(1)>'&</title></script>{{x}}`;
const HOSTILE_NAME = `<b onclick="x">bold`;

let server: TestServer;
let author: TestUser;
let article: ArticleJson;
let anonymous: TestBrowser;
let reader: TestBrowser;
beforeAll(async () => {
  server = await testServer();
  author = await server.register("author");
  await server.request("PUT", "/api/user", {
    token: author.token,
    body: { user: { username: HOSTILE_NAME, bio: HOSTILE, image: `https://example.com/a.png"onerror="alert(1)` } },
  });
  article = await server.publish(author, {
    title: `Hostile ${HOSTILE}`,
    description: HOSTILE,
    body: `# Heading\n\n${HOSTILE}\n\n[link](javascript:alert(1)) <a href="javascript:alert(1)" onclick="x()">a</a>\n\n<svg onload=alert(1)><iframe srcdoc="<script>1</script>">`,
    tagList: [`<i class="x">`, `"quoted"`],
  });
  await server.request("POST", `/api/articles/${article.slug}/comments`, {
    token: author.token,
    body: { comment: { body: HOSTILE } },
  });
  anonymous = testBrowser(server);
  reader = testBrowser(server);
  await reader.signIn(author);
});

const profile = `/profile/${encodeURIComponent(HOSTILE_NAME)}`;
const PUBLIC = (): string[] => [
  "/",
  `/tag/${encodeURIComponent('<i class="x">')}`,
  `/article/${article.slug}`,
  profile,
  `${profile}/favorites`,
  "/login",
  "/register",
];
const SIGNED_IN = (): string[] => [...PUBLIC(), "/?feed=following", "/editor", `/editor/${article.slug}`, "/settings"];

/** Every page, as both kinds of readers get it. */
async function everyPage(check: (text: string, headers: Headers, path: string) => void): Promise<void> {
  for (const path of PUBLIC()) {
    const { status, text, headers } = await anonymous.get(path);
    expect([path, status]).toEqual([path, 200]);
    check(text, headers, path);
  }
  for (const path of SIGNED_IN()) {
    const { status, text, headers } = await reader.get(path);
    expect([path, status]).toEqual([path, 200]);
    check(text, headers, path);
  }
  const { text, headers } = await anonymous.get("/nowhere");
  check(text, headers, "/nowhere");
}

describe("every page", () => {
  test("has a content security policy without inline scripts and styles, and needs none", async () => {
    await everyPage((text, headers, path) => {
      expect(headers.get("Content-Security-Policy")).toBe(
        "default-src 'none'; style-src 'self'; img-src 'self' data: https: http:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; script-src 'self'; connect-src 'self'",
      );
      // Data is no script.
      const markup = text.replace(/<script type="application\/ld\+json">[^<]*<\/script>/g, "");
      expect([
        path,
        / style=|<style|<script(?![^>]* src="\/assets\/)|<(?:iframe|object|embed|base)\b/i.exec(markup),
      ]).toEqual([path, null]);
    });
  });

  test("escapes what people wrote", async () => {
    await everyPage((text, _, path) => {
      expect([path, /<script>|<img src=x|<b onclick|<i class="x"|<svg onload/i.exec(text)]).toEqual([path, null]);
      // No element has a handler.
      expect([path, /<[a-z][^<>]* on[a-z]+=(?!&quot;)/i.exec(text.replace(/"[^"]*"/g, '""'))]).toEqual([path, null]);
      expect([path, /href="javascript:/i.exec(text)]).toEqual([path, null]);
    });
    const { text } = await anonymous.get(`/article/${article.slug}`);
    expect(text).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  });

  test("has a title, and if search engines may have it, an address and a description", async () => {
    await everyPage((text, headers, path) => {
      expect(textOf(text, "title")).toMatch(/Conduit$/);
      if (headers.get("X-Robots-Tag") === "noindex") return;
      const url = `${server.url}${path}`;
      expect(text).toContain(`<link rel="canonical" href="${url.replace(/&/g, "&amp;")}"/>`);
      for (const property of ["description", "og:title", "og:url", "og:type", "og:image"]) {
        expect([path, property, text.includes(`="${property}" content="`)]).toEqual([path, property, true]);
      }
    });
  });

  test("is in no frame, and gives no address to other sites", async () => {
    await everyPage((_, headers) => {
      expect(headers.get("X-Frame-Options")).toBe("DENY");
      expect(headers.get("Referrer-Policy")).toBe("same-origin");
      expect(headers.get("Cross-Origin-Opener-Policy")).toBe("same-origin");
      expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    });
  });

  test("has the elements that the official suite finds by their number", async () => {
    await everyPage((text, _, path) => {
      const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
      expect([path, count(/<nav class="navbar"/g), count(/class="navbar-brand"/g)]).toEqual([path, 1, 1]);
      if (path !== "/register") expect([path, count(/href="\/login"/g) <= 1]).toEqual([path, true]);
    });
  });
});

test("data for search engines is JSON that cannot end its script", async () => {
  const { text } = await anonymous.get(`/article/${article.slug}`);
  const [, json = ""] = /<script type="application\/ld\+json">(.*?)<\/script>/s.exec(text) ?? [];
  expect(json).not.toContain("<");
  expect(JSON.parse(json)).toMatchObject({
    "@context": "https://schema.org",
    "@type": "Article",
    headline: article.title,
    author: { "@type": "Person", name: HOSTILE_NAME },
  });
});

test("a picture whose address is no picture is the default one", async () => {
  const user = await server.register("pictured");
  const pictureOf = async (image: string) => {
    await server.request("PUT", "/api/user", { token: user.token, body: { user: { image } } });
    return /class="user-img" src="([^"]*)"/.exec((await anonymous.get("/profile/pictured")).text)?.[1];
  };
  for (const image of ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "//example.com/x", "", "x"]) {
    expect([image, await pictureOf(image)]).toEqual([
      image,
      expect.stringMatching(/^\/assets\/\w+\/default-avatar\.svg$/),
    ]);
  }
  expect(await pictureOf(`https://example.com/a.jpg"onerror="alert(1)`)).toBe(
    "https://example.com/a.jpg&quot;onerror=&quot;alert(1)",
  );
});

describe("a page for anonymous readers", () => {
  test("is validated by its tag, and sent compressed", async () => {
    const path = `${server.url}/article/${article.slug}`;
    const response = await fetch(path, { headers: { Accept: "text/html", "Accept-Encoding": "gzip" } });
    expect(response.headers.get("Content-Encoding")).toBe("gzip");
    expect(response.headers.get("Cache-Control")).toBe("no-cache");
    expect(response.headers.get("Vary")).toMatch(/Cookie.*Accept-Encoding/);
    const plain = await fetch(path, { headers: { Accept: "text/html", "Accept-Encoding": "identity" } });
    expect(plain.headers.get("Content-Encoding")).toBeNull();
    expect(await plain.text()).toBe(await response.text());
    const etag = response.headers.get("ETag") ?? "";
    const known = await fetch(path, { headers: { Accept: "text/html", "If-None-Match": etag } });
    expect([known.status, await known.text()]).toEqual([304, ""]);
    const head = await fetch(path, { method: "HEAD", headers: { Accept: "text/html", "Accept-Encoding": "identity" } });
    const { byteLength } = Buffer.from(await (await fetch(path, { headers: { Accept: "text/html" } })).text());
    expect([head.status, head.headers.get("Content-Length")]).toEqual([200, String(byteLength)]);
  });

  test("shows every change at once", async () => {
    const writer = await server.register("writer");
    const { slug } = await server.publish(writer, { title: "First title", tagList: ["fresh"] });
    expect((await anonymous.get("/")).text).toContain("First title");
    expect((await anonymous.get("/tag/fresh")).text).toContain("First title");
    const changed = await server.request("PUT", `/api/articles/${slug}`, {
      token: writer.token,
      body: { article: { title: "Second title" } },
    });
    expect((await anonymous.get("/")).text).not.toContain("First title");
    expect((await anonymous.get(`/article/${changed.json.article.slug}`)).text).toContain("Second title");
    await server.request("POST", `/api/articles/${changed.json.article.slug}/favorite`, { token: author.token });
    expect((await anonymous.get("/")).text).toContain('aria-label="Favorite Second title, 1 so far"');
    await server.request("DELETE", `/api/articles/${changed.json.article.slug}`, { token: writer.token });
    expect((await anonymous.get("/")).text).not.toContain("Second title");
    expect((await anonymous.get(`/article/${changed.json.article.slug}`)).status).toBe(404);
  });
});

test("a page for a signed-in reader is not for others: nothing shared stores it, and it is not compressed", async () => {
  for (const path of SIGNED_IN()) {
    const { headers } = await reader.get(path, { "Accept-Encoding": "gzip" });
    const isPersonal = path === "/settings";
    expect([path, headers.get("Cache-Control")]).toEqual([path, isPersonal ? "no-store" : "private, no-cache"]);
    expect([path, headers.get("Content-Encoding"), headers.get("ETag")]).toEqual([path, null, null]);
  }
});

test("two readers of the same page see their own flags", async () => {
  const other = testBrowser(server);
  await other.signIn(await server.register("other"));
  await other.get(`/article/${article.slug}`);
  await other.submit(`/article/${article.slug}/favorite`);
  await other.submit(`${profile}/follow`);
  expect((await other.get(`/article/${article.slug}`)).text).toMatch(/Unfollow.*Unfavorite/s);
  for (const browser of [anonymous, reader]) {
    expect((await browser.get(`/article/${article.slug}`)).text).not.toMatch(/Unfollow|Unfavorite/);
  }
});

describe("an error", () => {
  test.each(["/nowhere", "/article/none", "/profile/none", "/editor/none/x"])(
    "is a page for a browser, and JSON for a program (%s)",
    async (path) => {
      const page = await anonymous.get(path);
      expect([page.status, textOf(page.text, "h1")]).toEqual([404, "Page not found"]);
      const response = await fetch(server.url + path);
      expect([response.status, response.headers.get("Content-Type")]).toEqual([404, "application/json"]);
    },
  );

  test("of the API is always JSON", async () => {
    const { status, headers } = await anonymous.get("/api/articles/none");
    expect([status, headers.get("Content-Type")]).toEqual([404, "application/json"]);
  });

  test("that nobody expected shows no cause", async () => {
    const { status, text } = await anonymous.get("/article/x?comments=nonsense");
    expect([status, textOf(text, "h1")]).toEqual([422, "This did not work"]);
  });
});

describe("WEB=off", () => {
  test("serves the API alone, with an index for browsers", async () => {
    const alone = await testServer({ address: server.address, web: false });
    const browser = testBrowser(alone);
    for (const path of ["/login", "/register", `/article/${article.slug}`, profile, "/editor", "/settings", "/tag/x"]) {
      const { status, headers } = await browser.get(path);
      expect([path, status, headers.get("Content-Type")]).toEqual([path, 404, "application/json"]);
    }
    expect((await browser.submit("/login")).status).toBe(404);
    const index = await browser.get("/");
    expect([index.status, textOf(index.text, "h1")]).toEqual([200, "A RealWorld API server"]);
    expect((await browser.get("/forgot-password")).status).toBe(200);
    expect((await browser.get("/avatars/johndoe.svg")).status).toBe(200);
    expect((await fetch(`${alone.url}/api/articles`)).status).toBe(200);
    expect(await (await fetch(`${alone.url}/robots.txt`)).text()).toBe("User-agent: *\nDisallow: /\n");
  });
});

test("a picture of initials is an image and nothing else", async () => {
  const response = await fetch(`${server.url}/avatars/${encodeURIComponent("<script>-&x")}.svg`);
  expect(response.headers.get("Content-Type")).toBe("image/svg+xml");
  expect(response.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
  const text = await response.text();
  expect(text).not.toContain("<script");
  expect(text).toContain(">SX</text>");
});
