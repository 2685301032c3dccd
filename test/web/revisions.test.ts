import { beforeAll, expect, test } from "bun:test";
import { type TestBrowser, testBrowser, textOf } from "../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});

function browserOf(user: TestUser): TestBrowser {
  const browser = testBrowser(server);
  browser.setCookie("conduit_session", `${user.token}~${user.refreshToken}`);
  return browser;
}

async function edited(title: string): Promise<string> {
  const { slug } = await server.publish(anna, { title, body: "A <b>bold</b> claim" });
  const body = { article: { body: "A <b>mild</b> claim" } };
  await server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body });
  return slug;
}

test("the editor leads to the earlier versions, which show what differs from now, and can be restored", async () => {
  const browser = browserOf(anna);
  const slug = await edited("Shown");
  expect((await browser.get(`/editor/${slug}`)).text).toContain(`href="/editor/${slug}/revisions"`);
  expect((await browser.get(`/editor/${slug}/revisions`)).text).toContain(`href="/editor/${slug}/revisions/1"`);
  const { text, headers } = await browser.get(`/editor/${slug}/revisions/1`);
  expect(text).toContain("A &lt;b&gt;<del>bold</del><ins>mild</ins>&lt;/b&gt; claim");
  expect(headers.get("cache-control")).toBe("no-store");
  const restored = await browser.submit(`/editor/${slug}/revisions/1/restore`);
  expect([restored.status, restored.location]).toEqual([303, `/article/${slug}`]);
  expect((await server.request("GET", `/api/articles/${slug}`)).json.article.body).toBe("A <b>bold</b> claim");
  expect((await browser.get(`/editor/${slug}/revisions`)).text).toContain(`href="/editor/${slug}/revisions/2"`);
});

test("the earlier versions are for the author alone", async () => {
  const slug = await edited("Hidden");
  const bert = browserOf(await server.register("bert"));
  for (const path of ["", "/1"]) {
    expect((await bert.get(`/editor/${slug}/revisions${path}`)).status).toBe(404);
    const anonymous = await testBrowser(server).get(`/editor/${slug}/revisions${path}`);
    expect(anonymous.location).toBe(`/login?next=${encodeURIComponent(`/editor/${slug}/revisions${path}`)}`);
  }
  expect((await bert.submit(`/editor/${slug}/revisions/1/restore`)).status).toBe(404);
});

test("an article and its previews show how long it takes to read", async () => {
  const { slug } = await server.publish(anna, { title: "Long", body: "word ".repeat(700) });
  for (const path of [`/article/${slug}`, "/profile/anna"]) {
    const { text } = await testBrowser(server).get(path);
    expect(textOf(text.slice(text.indexOf("reading-time") - 20), "span")).toBe("4 min read");
  }
});
