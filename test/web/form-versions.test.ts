import { beforeAll, describe, expect, test } from "bun:test";
import { type PageResponse, type TestBrowser, testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let browser: TestBrowser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  browser = testBrowser(server);
  await browser.signIn(anna);
});

const TEXT = { title: "A title", description: "About it", body: "My text", publish: "1" };

/** The value of a hidden field. */
const hidden = ({ text }: PageResponse, name: string): string =>
  new RegExp(`<input type="hidden" name="${name}" value="([^"]*)"`).exec(text)?.[1] ?? "";

const articleOf = async (slug: string) => (await server.request("GET", `/api/articles/${slug}`)).json.article;

const articlesOf = async (user: TestUser): Promise<number> =>
  (await server.request("GET", `/api/articles?author=${user.username}`)).json.articlesCount;

describe("the form of a new article", () => {
  test("that is sent twice at the same time publishes one, and leads to it both times", async () => {
    const before = await articlesOf(anna);
    const formKey = hidden(await browser.get("/editor"), "formKey");
    const pages = await Promise.all([1, 2].map(() => browser.submit("/editor", { ...TEXT, formKey })));
    expect(pages.map(({ status }) => status)).toEqual([303, 303]);
    expect(pages[0]?.location).toBe(pages[1]?.location as string);
    expect(await articlesOf(anna)).toBe(before + 1);
  });

  test("keeps its key for a preview, and is another article with another text", async () => {
    const formKey = hidden(await browser.get("/editor"), "formKey");
    const preview = await browser.submit("/editor", { ...TEXT, publish: "", preview: "1", formKey });
    expect(hidden(preview, "formKey")).toBe(formKey);
    const locations = [
      (await browser.submit("/editor", { ...TEXT, formKey })).location,
      (await browser.submit("/editor", { ...TEXT, body: "Another text", formKey })).location,
    ];
    expect(locations).toEqual([expect.stringMatching(/^\/article\/a-title/), expect.stringMatching(/^\/article\//)]);
    expect(locations[0]).not.toBe(locations[1] as string);
  });

  test("without a key, or with none of ours, publishes each time", async () => {
    const before = await articlesOf(anna);
    for (const more of [{}, {}, { formKey: "x\0" }, { formKey: "x\0" }]) {
      expect((await browser.submit("/editor", { ...TEXT, ...more })).status).toBe(303);
    }
    expect(await articlesOf(anna)).toBe(before + 4);
  });
});

test("the form of a comment that is sent twice writes one, and two with two texts", async () => {
  const { slug } = await server.publish(anna);
  const formKey = hidden(await browser.get(`/article/${slug}`), "formKey");
  expect(formKey).not.toBe("");
  for (const body of ["First", "First", "Second"]) {
    expect((await browser.submit(`/article/${slug}/comments`, { body, formKey })).status).toBe(303);
  }
  const { comments } = (await server.request("GET", `/api/articles/${slug}/comments`)).json;
  expect(comments.map(({ body }) => body)).toEqual(["Second", "First"]);
  const tooLong = await browser.submit(`/article/${slug}/comments`, { body: "x".repeat(10_001), formKey });
  expect([tooLong.status, hidden(tooLong, "formKey")]).toEqual([422, formKey]);
});

describe("the form of an article that was changed in another tab", () => {
  test("shows both texts, publishes nothing, and replaces the newer one only when sent again", async () => {
    const { slug } = await server.publish(anna, { tagList: ["tea"] });
    const mine = hidden(await browser.get(`/editor/${slug}`), "version");
    const theirs = { article: { body: "Their <b>text</b>" } };
    await server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: theirs });

    const page = await browser.submit(`/editor/${slug}`, { ...TEXT, version: mine });
    expect([page.status, mine, hidden(page, "version")]).toEqual([412, "1", "2"]);
    expect(page.text).toContain("This article has changed since you opened it.");
    expect(page.text).toContain("My text</textarea>");
    expect(page.text).toContain("Their &lt;b&gt;text&lt;/b&gt;</textarea>");
    expect((await articleOf(slug)).body).toBe(theirs.article.body);

    const again = await browser.submit(`/editor/${slug}`, { ...TEXT, version: hidden(page, "version") });
    expect(again.status).toBe(303);
    expect(await articleOf(slug)).toMatchObject({ body: "My text", version: 3 });
  });

  const publishAt = new Date(Date.now() + 3_600_000).toISOString().slice(0, 16);
  const setStatus = async (slug: string, status: string) => {
    const article = status === "scheduled" ? { status, publishAt: `${publishAt}:00Z` } : { status };
    const { json } = await server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: { article } });
    expect(json.article).toMatchObject({ slug, status });
  };

  test.each([
    { shown: "draft", present: "published", button: "save", next: "Back to drafts" },
    { shown: "scheduled", present: "published", button: "schedule", next: "Back to drafts" },
    { shown: "scheduled", present: "draft", button: "publish", next: "Save draft" },
    { shown: "published", present: "draft", button: "publish", next: "Save draft" },
  ])("is refused once if only the status has changed: %p", async ({ shown, present, button, next }) => {
    // Its slug stays, as it has been published before.
    const { slug, title } = await server.publish(anna);
    await setStatus(slug, shown);
    const form = await browser.get(`/editor/${slug}`);
    await setStatus(slug, present);

    const sent = { title, description: "About it", body: "My text", publishAt, [button]: "1" };
    const fieldsOf = (page: PageResponse) => ({ version: hidden(page, "version"), status: hidden(page, "status") });
    const page = await browser.submit(`/editor/${slug}`, { ...sent, ...fieldsOf(form) });
    expect([page.status, fieldsOf(form).status, fieldsOf(page)]).toEqual([
      412,
      shown,
      { version: "1", status: present },
    ]);
    expect(page.text).toContain("This article has changed since you opened it.");
    expect(page.text).toContain("My text</textarea>");
    expect(page.text).toContain(`The article is now ${present === "draft" ? "a draft" : present}.`);
    expect(page.text).toContain(next);
    const article = async () =>
      (await server.request("GET", `/api/articles/${slug}`, { token: anna.token })).json.article;
    expect(await article()).toMatchObject({ status: present, body: "A body", version: 1 });

    const again = await browser.submit(`/editor/${slug}`, { ...sent, ...fieldsOf(page) });
    expect([again.status, (await article()).body]).toEqual([303, "My text"]);
  });

  test("saves if the status has become what the form asks for", async () => {
    const { slug, title } = await server.publish(anna);
    await setStatus(slug, "draft");
    const form = await browser.get(`/editor/${slug}`);
    await setStatus(slug, "published");
    const fields = { ...TEXT, title, version: hidden(form, "version"), status: hidden(form, "status") };
    expect((await browser.submit(`/editor/${slug}`, fields)).status).toBe(303);
    expect(await articleOf(slug)).toMatchObject({ status: "published", body: "My text" });
  });

  test("is not disturbed by a favourite or a preview", async () => {
    const { slug } = await server.publish(anna);
    const version = hidden(await browser.get(`/editor/${slug}`), "version");
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: anna.token });
    const preview = await browser.submit(`/editor/${slug}`, { ...TEXT, publish: "", preview: "1", version });
    expect(hidden(preview, "version")).toBe(version);
    expect((await browser.submit(`/editor/${slug}`, { ...TEXT, version })).status).toBe(303);
  });

  test("keeps the text if the article was deleted or renamed", async () => {
    const { slug } = await server.publish(anna, { title: "Old name" });
    const version = hidden(await browser.get(`/editor/${slug}`), "version");
    await server.request("PUT", `/api/articles/${slug}`, {
      token: anna.token,
      body: { article: { title: "New name" } },
    });
    const page = await browser.submit(`/editor/${slug}`, { ...TEXT, version });
    expect(page.status).toBe(404);
    expect(page.text).toContain("This article was deleted, or has another title and address by now.");
    expect(page.text).toContain("My text</textarea>");
  });
});
