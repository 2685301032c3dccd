import { beforeAll, expect, test } from "bun:test";
import { type PageResponse, type TestBrowser, testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let author: TestUser;
let browser: TestBrowser;
beforeAll(async () => {
  server = await testServer();
  author = await server.register("author");
  browser = testBrowser(server);
  await browser.signIn(author);
});

const FIELDS = { title: "A page to be", description: "Soon", body: "Some *text*", tag: "soon" };
const slugOf = ({ location }: PageResponse): string => (location ?? "").replace("/article/", "");
const isStored = ({ headers }: PageResponse): boolean => headers.get("Cache-Control") !== "no-store";

test("the editor saves a draft, whose page is a preview for its author alone", async () => {
  const saved = await browser.submit("/editor", { ...FIELDS, save: "1" });
  expect(saved.status).toBe(303);
  const path = saved.location ?? "";
  const preview = await browser.get(path);
  expect(preview.status).toBe(200);
  expect(preview.text).toContain("only you can see this article");
  expect(preview.text).toContain("<em>text</em>");
  expect(preview.text).not.toMatch(/Post Comment|Favorite|article:published_time/);
  expect(isStored(preview)).toBe(false);
  expect((await testBrowser(server).get(path)).status).toBe(404);

  const drafts = await browser.get("/drafts");
  expect(drafts.text).toContain(`href="${path}"`);
  expect(isStored(drafts)).toBe(false);
  const editor = await browser.get(`/editor/${slugOf(saved)}`);
  expect(editor.text).toContain("Save draft");
  expect(isStored(editor)).toBe(false);
});

test("the editor publishes a draft, and takes it back", async () => {
  const saved = await browser.submit("/editor", { ...FIELDS, title: "There and back", save: "1" });
  const published = await browser.submit(`/editor/${slugOf(saved)}`, {
    ...FIELDS,
    title: "There and back",
    publish: "1",
  });
  expect([published.status, published.location]).toEqual([303, "/article/there-and-back"]);
  const anonymous = testBrowser(server);
  expect((await anonymous.get("/article/there-and-back")).status).toBe(200);
  expect((await browser.get("/drafts")).text).not.toContain("There and back");
  expect((await browser.get("/editor/there-and-back")).text).toContain("Back to drafts");
  await browser.submit("/editor/there-and-back", { ...FIELDS, title: "There and back", save: "1" });
  expect((await anonymous.get("/article/there-and-back")).status).toBe(404);
});

test("the editor schedules an article for a time in UTC, and says what is wrong with one", async () => {
  const at = new Date(Date.now() + 3_600_000).toISOString().slice(0, 16);
  const fields = { ...FIELDS, title: "At its time" };
  const scheduled = await browser.submit("/editor", { ...fields, publishAt: at, schedule: "1" });
  expect(scheduled.status).toBe(303);
  const { json } = await server.request("GET", `/api/articles/${slugOf(scheduled)}`, { token: author.token });
  expect(json.article).toMatchObject({ status: "scheduled", publishAt: `${at}:00.000Z` });
  expect((await browser.get("/drafts")).text).toContain("Scheduled for");
  expect((await browser.get(`/editor/${slugOf(scheduled)}`)).text).toContain(`value="${at}"`);

  for (const [publishAt, problem] of [
    ["", "The time of publication can&#39;t be blank."],
    ["2020-01-01T00:00", "The time of publication must be in the future."],
    ["next week", "The time of publication must be a time like 2026-01-31T12:34:56Z."],
  ] as const) {
    const page = await browser.submit("/editor", { ...fields, publishAt, schedule: "1" });
    expect([page.status, publishAt]).toEqual([422, publishAt]);
    expect(page.text).toContain(problem);
    expect(page.text).toContain("Some *text*");
  }
});

test("the page of drafts is for signed-in users, who find it in the navigation and on their profile", async () => {
  const anonymous = await testBrowser(server).get("/drafts");
  expect([anonymous.status, anonymous.location]).toEqual([303, "/login?next=%2Fdrafts"]);
  expect((await browser.get("/")).text.match(/href="\/drafts"/g)).toHaveLength(1);
  expect((await browser.get("/profile/author")).text.match(/href="\/drafts"/g)).toHaveLength(2);
  expect((await testBrowser(server).get("/profile/author")).text).not.toContain('href="/drafts"');
});

test("the page of drafts leads to the older ones", async () => {
  const writer = await server.register("writer");
  for (let i = 0; i < 21; i++) await server.publish(writer, { title: `Number ${i} of it`, status: "draft" });
  const own = testBrowser(server);
  await own.signIn(writer);
  const first = await own.get("/drafts");
  expect(first.text).not.toContain("Number 0 of it");
  const [, older = ""] = /href="(\/drafts\?cursor=[^"]+)"/.exec(first.text) ?? [];
  expect((await own.get(older)).text).toContain("Number 0 of it");
});
