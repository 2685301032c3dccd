import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  type ArticleJson,
  type RequestOptions,
  type TestServer,
  type TestUser,
  testServer,
} from "../../support/harness.ts";
import { jobsOf } from "../../support/jobs.ts";
import { addUsers } from "../../support/people.ts";

// Drafts and scheduled articles with `If-Match` and `Idempotency-Key`.

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
});
afterAll(() => server.stop());

const put = (slug: string, article: object, version: string, user = anna) =>
  server.request("PUT", `/api/articles/${slug}`, {
    token: user.token,
    body: { article },
    headers: { "If-Match": version },
  });
const begin = (): Promise<ArticleJson> => server.publish(anna, { title: "A draft", status: "draft" });
const read = async (slug: string): Promise<ArticleJson> =>
  (await server.request("GET", `/api/articles/${slug}`, { token: anna.token })).json.article;
const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
const jobs = async () => (await jobsOf(server.sql, "publish_article")).length;

describe("If-Match", () => {
  test("publishes, schedules and withdraws only the version that the author has read", async () => {
    const { slug } = await begin();
    expect((await put(slug, { body: "Second" }, '"1"')).json.article.version).toBe(2);
    const before = await jobs();
    for (const change of [{ status: "published" }, { status: "scheduled", publishAt: inMinutes(60) }]) {
      const stale = await put(slug, change, '"1"');
      expect([stale.status, stale.json.article]).toEqual([412, await read(slug)]);
    }
    expect(await jobs()).toBe(before);
    expect((await read(slug)).status).toBe("draft");
    const published = await put(slug, { status: "published", title: "Now public" }, '"2"');
    expect(published.json.article).toMatchObject({ status: "published", slug: "now-public", version: 3 });
    expect((await put("now-public", { status: "draft" }, '"2"')).status).toBe(412);
    expect((await put("now-public", { status: "draft" }, '"3"')).json.article.status).toBe("draft");
  });

  test("does not fail an edit because of a change of the status alone", async () => {
    const { slug } = await begin();
    expect((await put(slug, { status: "scheduled", publishAt: inMinutes(60) }, '"1"')).json.article.version).toBe(1);
    expect((await put(slug, { body: "Another" }, '"1"')).json.article).toMatchObject({
      status: "scheduled",
      version: 2,
    });
  });

  test("on a draft is 404 for everybody but the author, whatever the version", async () => {
    const { slug } = await begin();
    const missing = await put("no-such-article", { body: "Mine" }, '"9"', bert);
    for (const version of ['"1"', '"9"', "*"]) {
      const options: RequestOptions = { token: bert.token, headers: { "If-Match": version } };
      for (const response of [
        await put(slug, { body: "Mine" }, version, bert),
        await put(slug, { status: "published" }, version, bert),
        await server.request("DELETE", `/api/articles/${slug}`, options),
      ]) {
        expect([response.status, response.text, response.headers.get("ETag")]).toEqual([404, missing.text, null]);
      }
    }
    expect((await read(slug)).version).toBe(1);
  });
});

describe("Idempotency-Key", () => {
  const TEXTS = { title: "Once", description: "A description", body: "A body" };
  const post = (key: string, article: object, user = anna) =>
    server.request("POST", "/api/articles", {
      token: user.token,
      body: { article: { ...TEXTS, ...article } },
      headers: { "Idempotency-Key": key },
    });
  const drafts = async (user: TestUser): Promise<ArticleJson[]> =>
    (await server.request("GET", "/api/user/articles?limit=100", { token: user.token })).json.articles;

  test("begins a draft once, and shows it again to its author alone", async () => {
    const key = crypto.randomUUID();
    const before = (await drafts(anna)).length;
    const first = await post(key, { status: "draft" });
    const again = await post(key, { status: "draft" });
    expect([again.status, again.text, again.headers.get("Idempotent-Replayed")]).toEqual([201, first.text, "true"]);
    expect(await drafts(anna)).toHaveLength(before + 1);
    const other = await post(key, { status: "draft" }, bert);
    expect([other.status, other.headers.get("Idempotent-Replayed")]).toEqual([201, null]);
    expect(other.json.article.author.username).toBe("bert");
  });

  test("adds the job of a scheduled article once, or not at all", async () => {
    const key = crypto.randomUUID();
    const before = await jobs();
    const article = { status: "scheduled", publishAt: inMinutes(60) };
    const sent = await Promise.all([post(key, article), post(key, article)]);
    expect(new Set(sent.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(await jobs()).toBe(before + 1);
    expect((await post(key, { status: "published" })).status).toBe(422);
    expect(await jobs()).toBe(before + 1);
  });
});
