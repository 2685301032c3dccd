import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { publishOverdue } from "../../../src/features/articles/publication.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

// Former slugs and revisions of articles that are not published.

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
});
afterAll(() => server.stop());

const begin = (title: string): Promise<ArticleJson> => server.publish(anna, { title, status: "draft" });
async function put(slug: string, article: object, on = server): Promise<ArticleJson> {
  const { status, json } = await on.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: { article } });
  expect(status).toBe(200);
  return json.article;
}
/** Where an article and its comments lead a reader, or the statuses. */
const lookUp = (slug: string, reader?: TestUser, on = server) =>
  Promise.all(
    ["", "/comments"].map(async (rest) => {
      const { status, headers } = await on.request("GET", `/api/articles/${slug}${rest}`, { token: reader?.token });
      return status === 308 ? headers.get("location") : status;
    }),
  );
const movedTo = (slug: string) => [`/api/articles/${slug}`, `/api/articles/${slug}/comments`];
const revisions = async (slug: string) =>
  (await server.request("GET", `/api/articles/${slug}/revisions`, { token: anna.token })).json.revisions;

describe("a former slug", () => {
  test("of a draft leads its author to it, and everybody once it is published", async () => {
    const { slug: first } = await begin("A first title");
    const { slug: second } = await put(first, { title: "A second title" });
    expect(second).not.toBe(first);
    expect(await lookUp(first, anna)).toEqual(movedTo(second));
    expect([await lookUp(first, bert), await lookUp(first)]).toEqual([
      [404, 404],
      [404, 404],
    ]);
    expect((await put(second, { status: "published" })).slug).toBe("a-second-title");
    for (const reader of [anna, bert, undefined]) {
      for (const former of [first, second]) expect(await lookUp(former, reader)).toEqual(movedTo("a-second-title"));
    }
  });

  test("of a withdrawn article leads nobody but its author", async () => {
    const { slug } = await server.publish(anna, { title: "Known to all" });
    await put(slug, { title: "Known to all no longer" });
    expect(await lookUp(slug, bert)).toEqual(movedTo("known-to-all-no-longer"));
    const { slug: withdrawn } = await put("known-to-all-no-longer", { status: "draft", title: "Rewritten" });
    for (const former of [slug, "known-to-all-no-longer"]) {
      expect(await lookUp(former, anna)).toEqual(movedTo(withdrawn));
      expect([await lookUp(former, bert), await lookUp(former)]).toEqual([
        [404, 404],
        [404, 404],
      ]);
    }
  });

  test("reveals nothing to requests that are sent together with the author's", async () => {
    const { slug: former } = await begin("Asked for together");
    const { slug } = await put(former, { title: "Asked for at another place" });
    const readers = Array.from({ length: 30 }, (_, i) => [anna, bert, undefined][i % 3]);
    const seen = await Promise.all(readers.map((reader) => lookUp(former, reader)));
    expect(seen).toEqual(readers.map((reader) => (reader === anna ? movedTo(slug) : [404, 404])));
  });

  test("of another article is not taken by the first publication of a draft", async () => {
    const { slug } = await server.publish(bert, { title: "Taken before" });
    const body = { article: { title: "Taken no more" } };
    await server.request("PUT", `/api/articles/${slug}`, { token: bert.token, body });
    const draft = await begin("Taken before");
    expect((await put(draft.slug, { status: "published" })).slug).toBe(draft.slug);
    expect(await lookUp(slug)).toEqual(movedTo("taken-no-more"));
  });

  test("is not remembered of a deleted article that is not published", async () => {
    const remembering = await testServer({ address: server.address, deletedArticles: 410 });
    const { slug } = await server.publish(anna, { title: "Public once" });
    const { slug: now } = await put(slug, { title: "Private now", status: "draft" });
    await remembering.request("DELETE", `/api/articles/${now}`, { token: anna.token });
    for (const reader of [anna, bert]) {
      expect([await lookUp(slug, reader), await lookUp(now, reader)]).toEqual([
        [404, 404],
        [404, 404],
      ]);
    }
  });
});

describe("a revision", () => {
  test("is kept of each edit of a draft, for its author alone, and none of a change of the status", async () => {
    const { slug } = await begin("Written slowly");
    await put(slug, { body: "Second" });
    const published = await put(slug, { status: "published" });
    expect(published).toMatchObject({ slug: "written-slowly", version: 2 });
    expect(await revisions("written-slowly")).toMatchObject([{ number: 1, title: "Written slowly" }]);
    await put("written-slowly", { body: "Third", status: "draft" });
    expect((await revisions("written-slowly")).map(({ number }: { number: number }) => number)).toEqual([2, 1]);
    const path = "/api/articles/written-slowly/revisions/1";
    const { status } = await server.request("GET", path, { token: bert.token });
    expect(status).toBe(404);
    const restored = await server.request("POST", `${path}/restore`, { token: anna.token });
    expect(restored.json.article).toMatchObject({ status: "draft", slug: "written-slowly", version: 4 });
  });

  test("is kept of an autosaved version that was published", async () => {
    const { slug } = await begin("Saved by itself");
    const autosave = true;
    await put(slug, { body: "One", autosave });
    await put(slug, { body: "Two", autosave });
    // The version "One" is lost.
    expect(await revisions(slug)).toHaveLength(1);
    expect((await put(slug, { status: "published" })).version).toBe(3);
    await put("saved-by-itself", { body: "Three", autosave });
    expect(await revisions("saved-by-itself")).toHaveLength(2);
  });

  test("is not made by the job that publishes, which is no edit", async () => {
    const publishAt = new Date(Date.now() + 3_600_000).toISOString();
    const { slug } = await server.publish(anna, { title: "By the clock", status: "scheduled", publishAt });
    await server.sql`update articles set publish_at = now() - interval '1 second' where slug = ${slug}`;
    const job = { id: "1", attempt: 1, createdAt: new Date(), signal: new AbortController().signal };
    await publishOverdue(server.db, server.memory).run({}, job);
    const { json } = await server.request("GET", "/api/articles/by-the-clock", { token: anna.token });
    expect(json.article).toMatchObject({ status: "published", version: 1 });
    expect(await revisions("by-the-clock")).toEqual([]);
    expect(await lookUp(slug, bert)).toEqual(movedTo("by-the-clock"));
  });
});
