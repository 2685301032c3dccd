import { beforeAll, describe, expect, test } from "bun:test";
import { type TestBrowser, testBrowser } from "../support/browser.ts";
import { type ArticleJson, type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";

let server: TestServer;
let user: TestUser;
let author: TestUser;
let article: ArticleJson;
let browser: TestBrowser;
beforeAll(async () => {
  server = await testServer();
  [user, author] = [await server.register("reader"), await server.register("author")];
  article = await server.publish(author);
  browser = testBrowser(server);
  await browser.signIn(user);
});

/** Their forms carry a token from an email, or may be sent by anybody. They read no cookie. */
const WITHOUT_COOKIE = ["/verify-email", "/forgot-password", "/reset-password", "/undo-email-change"];

/** Every form of the app, from its routes, so that a new one cannot be forgotten. */
const forms = (): string[] => {
  const paths = testApp(server.db).routes.flatMap(({ method, path }) => (method === "POST" ? [path] : []));
  return [...new Set(paths)]
    .filter((path) => !path.startsWith("/api/") && !WITHOUT_COOKIE.includes(path))
    .map((path) => path.replace(":slug", article.slug).replace(":username", author.username).replace(":id", "1"));
};

/** What other tables would show of a form that was obeyed. */
async function traces(): Promise<unknown> {
  const [row] = await server.sql`
    select (select count(*) from favorites)::int as favorites, (select count(*) from follows)::int as follows,
           (select count(*) from comments)::int as comments, (select count(*) from articles)::int as articles,
           (select count(*) from users)::int as users, (select count(*) from sessions where revoked_at is null)::int as sessions`;
  return row;
}

const FIELDS = {
  username: "victim",
  email: "victim@example.com",
  password: "correct horse",
  body: "text",
  title: "t",
  description: "d",
  publish: "1",
};

describe("a form that another site made the browser send", () => {
  test.each<[string, Record<string, string>]>([
    ["another site", { "Sec-Fetch-Site": "cross-site", Origin: "https://evil.example" }],
    ["another site that keeps its name to itself", { "Sec-Fetch-Site": "cross-site", Origin: "null" }],
    ["another host of the same domain", { "Sec-Fetch-Site": "same-site", Origin: "http://other.localhost" }],
    ["nowhere in particular", { "Sec-Fetch-Site": "none", Origin: "null" }],
  ])("is refused on every route, from %s", async (_, headers) => {
    expect(forms().length).toBeGreaterThan(14);
    const before = await traces();
    for (const path of forms()) {
      const response = await browser.submit(path, FIELDS, headers);
      expect([path, response.status]).toEqual([path, 403]);
      expect(response.headers.getSetCookie()).toEqual([]);
    }
    expect(await traces()).toEqual(before);
  });

  test.each<[string, Record<string, string>]>([
    ["another origin", { Origin: "https://evil.example" }],
    ["the same host on another port", { Origin: "http://127.0.0.1:1" }],
    ["an opaque origin", { Origin: "null" }],
    ["what is no origin", { Origin: "evil" }],
    ["no header at all", {}],
  ])("is refused where the browser does not send Sec-Fetch-Site: %s", async (_, headers) => {
    const before = await traces();
    for (const path of forms()) {
      const response = await fetch(server.url + path, {
        method: "POST",
        body: new URLSearchParams(FIELDS),
        headers: { Cookie: browser.cookie(), ...headers },
        redirect: "manual",
      });
      expect([path, response.status]).toEqual([path, 403]);
    }
    expect(await traces()).toEqual(before);
  });
});

test("a form of the server's own page is accepted by either header", async () => {
  const path = `/article/${article.slug}/favorite`;
  const send = async (headers: Record<string, string>) => {
    const sent = { method: "POST", headers: { Cookie: browser.cookie(), ...headers }, redirect: "manual" } as const;
    return (await fetch(server.url + path, { ...sent, body: new URLSearchParams() })).status;
  };
  expect(await send({ "Sec-Fetch-Site": "same-origin" })).toBe(303);
  expect(await send({ Origin: server.url })).toBe(303);
});

test("with BASE_URL, its origin is the only one", async () => {
  const named = await testServer({ address: server.address, baseUrl: "http://conduit.example" });
  const status = async (origin: string) => {
    const sent = { method: "POST", headers: { Origin: origin }, redirect: "manual" } as const;
    return (await fetch(`${named.url}/logout`, { ...sent, body: new URLSearchParams() })).status;
  };
  expect(await status("http://conduit.example")).toBe(303);
  expect(await status("https://conduit.example")).toBe(403);
  expect(await status(named.url)).toBe(403);
});

test("no page changes anything by GET", async () => {
  const before = await traces();
  for (const path of forms()) await browser.get(path);
  expect(await traces()).toEqual(before);
});

test("the page that explains a refusal is a page", async () => {
  const { status, text } = await browser.submit("/logout", {}, { "Sec-Fetch-Site": "cross-site" });
  expect(status).toBe(403);
  expect(text).toContain("<h1>This is not yours to change</h1>");
});
