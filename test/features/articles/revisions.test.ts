import { beforeAll, describe, expect, test } from "bun:test";
import { loadConfig } from "../../../src/config/settings.ts";
import { purges } from "../../../src/server/jobs.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  bert = await server.register("bert");
});

async function edit(slug: string, article: object) {
  const response = await server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: { article } });
  expect(response.status).toBe(200);
  return response.json.article;
}
const get = (path: string, token: string | undefined = anna.token) =>
  server.request("GET", `/api/articles/${path}`, { token });
const listOf = async (slug: string) => (await get(`${slug}/revisions`)).json.revisions;
const bodiesOf = async (slug: string) => {
  const numbers = (await listOf(slug)).map(({ number }) => number);
  const responses = await Promise.all(numbers.map((number) => get(`${slug}/revisions/${number}`)));
  return responses.map(({ json }) => json.revision.body);
};

describe("an edit", () => {
  test("keeps the version before, as it was", async () => {
    const first = await server.publish(anna, { title: "Kept", body: "One", tagList: ["tea"] });
    const second = await edit(first.slug, { body: "Two" });
    await edit(first.slug, { description: "Other", tagList: [] });
    const { title, tagList, description } = first;
    const [newer, older] = await listOf(first.slug);
    expect(newer).toMatchObject({ number: 2, title, description, tagList, createdAt: second.updatedAt });
    expect(older).toMatchObject({
      number: 1,
      title,
      tagList,
      createdAt: first.createdAt,
      replacedAt: second.updatedAt,
    });
    expect(newer).not.toHaveProperty("body");
    expect(await bodiesOf(first.slug)).toEqual(["Two", "One"]);
    const one = await get(`${first.slug}/revisions/1`);
    expect(one.json.revision).toEqual({ ...(older as typeof one.json.revision), body: "One" });
  });

  test("that changes nothing keeps nothing", async () => {
    const { slug, title, body } = await server.publish(anna, { title: "The same" });
    await edit(slug, {});
    await edit(slug, { title, body, tagList: [] });
    expect(await listOf(slug)).toEqual([]);
  });

  test("of a large article does not store its body again if that stays", async () => {
    const { slug } = await server.publish(anna, { title: "Large", body: "x".repeat(500_000) });
    for (const description of ["A", "B", "C"]) await edit(slug, { description });
    expect((await bodiesOf(slug)).map((body) => body.length)).toEqual([500_000, 500_000, 500_000]);
    const [row] = await server.sql`select count(r.body)::integer as bodies from article_revisions r
                                     join articles a on a.id = r.article_id where a.slug = ${slug}`;
    expect(row.bodies).toBe(0);
    await edit(slug, { body: "short" });
    expect((await bodiesOf(slug)).map((body) => body.length)).toEqual([500_000, 500_000, 500_000, 500_000]);
  });

  test("is kept by many edits at once, each version once", async () => {
    const { slug } = await server.publish(anna, { title: "Busy", body: "0" });
    await Promise.all(Array.from({ length: 20 }, (_, i) => edit(slug, { body: `${i + 1}` })));
    const current = (await get(slug)).json.article.body;
    const bodies = [current, ...(await bodiesOf(slug))];
    expect(new Set(bodies).size).toBe(21);
    expect((await get(`${slug}/revisions?limit=100`)).json.revisions.map(({ number }) => number)).toEqual(
      Array.from({ length: 20 }, (_, i) => 20 - i),
    );
  });
});

describe("versions that the editor saved by itself", () => {
  test("are not kept, unless the one before is ten minutes old", async () => {
    const { slug } = await server.publish(anna, { title: "Autosaved", body: "0" });
    for (const body of ["1", "2", "3"]) await edit(slug, { body, autosave: true });
    await edit(slug, { body: "4" });
    expect(await bodiesOf(slug)).toEqual(["0"]);
    await edit(slug, { body: "5", autosave: true });
    expect(await bodiesOf(slug)).toEqual(["4", "0"]);
    await server.sql`update article_revisions set replaced_at = replaced_at - interval '11 minutes'`;
    await edit(slug, { body: "6", autosave: true });
    await edit(slug, { body: "7", autosave: true });
    expect(await bodiesOf(slug)).toEqual(["5", "4", "0"]);
  });

  test("leave the body of the revision before as it was", async () => {
    const { slug } = await server.publish(anna, { title: "Before", body: "first" });
    await edit(slug, { description: "Other", autosave: true });
    await edit(slug, { body: "second", autosave: true });
    await edit(slug, { body: "third" });
    expect(await bodiesOf(slug)).toEqual(["first"]);
  });
});

describe("revisions", () => {
  test("do not exist for anybody but the author", async () => {
    const { slug } = await server.publish(anna, { title: "Private" });
    await edit(slug, { body: "Changed" });
    for (const path of ["", "/1", "/1/diff"]) {
      const { status, json } = await get(`${slug}/revisions${path}`, bert.token);
      expect([path, status, json.errors]).toEqual([path, 404, { article: ["not found"] }]);
      expect((await server.request("GET", `/api/articles/${slug}/revisions${path}`)).status).toBe(401);
    }
    const restored = await server.request("POST", `/api/articles/${slug}/revisions/1/restore`, { token: bert.token });
    expect(restored.status).toBe(404);
    expect((await get(slug)).json.article.body).toBe("Changed");
  });

  test("that do not exist are not found", async () => {
    const { slug } = await server.publish(anna, { title: "Only one" });
    for (const number of ["1", "0", "-1", "x", "99999999999999999999"]) {
      const { status, json } = await get(`${slug}/revisions/${number}`);
      expect([number, status, json.errors]).toEqual([number, 404, { revision: ["not found"] }]);
    }
    expect((await get("no-such-article/revisions")).status).toBe(404);
  });

  test("are listed in pages", async () => {
    const { slug } = await server.publish(anna, { title: "Pages", body: "0" });
    for (let i = 1; i <= 5; i++) await edit(slug, { body: `${i}` });
    const numbers: number[] = [];
    for (let path: string | null = `${slug}/revisions?limit=2`; path !== null; ) {
      const { json, headers } = await get(path);
      numbers.push(...json.revisions.map(({ number }) => number));
      expect(headers.get("link") === null).toBe(json.nextCursor === null);
      path = json.nextCursor && `${slug}/revisions?limit=2&cursor=${json.nextCursor}`;
    }
    expect(numbers).toEqual([5, 4, 3, 2, 1]);
  });

  test("can be compared with each other and with now, by words", async () => {
    const { slug } = await server.publish(anna, {
      title: "Compared",
      body: "The quick fox, 漢字",
      tagList: ["a", "b"],
    });
    await edit(slug, { body: "The slow fox, 漢語" });
    await edit(slug, { title: "Compared again", tagList: ["b", "c"] });
    const now = (await get(`${(await get(slug)).headers.get("location")?.split("/").at(-1)}/revisions/1/diff`)).json
      .diff;
    expect(now).toEqual({
      from: 1,
      to: null,
      title: [
        { kind: "same", text: "Compared" },
        { kind: "added", text: " again" },
      ],
      description: [{ kind: "same", text: "A description" }],
      body: [
        { kind: "same", text: "The " },
        { kind: "removed", text: "quick" },
        { kind: "added", text: "slow" },
        { kind: "same", text: " fox, 漢" },
        { kind: "removed", text: "字" },
        { kind: "added", text: "語" },
      ],
      tagList: [
        { kind: "removed", text: "a" },
        { kind: "same", text: "b" },
        { kind: "added", text: "c" },
      ],
    });
    const both = (await get("compared-again/revisions/1/diff?to=2")).json.diff;
    expect([both.to, both.title, both.body]).toEqual([2, [{ kind: "same", text: "Compared" }], now.body]);
    expect((await get("compared-again/revisions/1/diff?to=9")).status).toBe(404);
    expect((await get("compared-again/revisions/1/diff?to=x")).status).toBe(422);
  });

  test("can be restored, as an edit like any other", async () => {
    const first = await server.publish(anna, { title: "Restored", body: "One", tagList: ["tea"] });
    const { slug } = await edit(first.slug, { title: "Spoilt", body: "Two", tagList: [] });
    const path = `/api/articles/${slug}/revisions/1/restore`;
    const { status, json } = await server.request("POST", path, { token: anna.token });
    expect(status).toBe(200);
    expect({ ...json.article, updatedAt: "" }).toEqual({ ...first, version: 3, updatedAt: "" });
    expect(await listOf("restored")).toMatchObject([
      { number: 2, title: "Spoilt" },
      { number: 1, title: "Restored" },
    ]);
  });

  test("go with the article, and with the account", async () => {
    const carla = await server.register("carla");
    const rest = await server.publish(carla, { title: "Gone with the account" });
    const path = `/api/articles/${rest.slug}`;
    await server.request("PUT", path, { token: carla.token, body: { article: { title: "Of the account" } } });
    const { slug } = await server.publish(anna, { title: "Gone with the article" });
    const renamed = await edit(slug, { title: "Gone soon" });
    await server.request("DELETE", `/api/articles/${renamed.slug}`, { token: anna.token });
    await server.sql`delete from users where username = 'carla'`;
    const [left] = await server.sql`
      select (select count(*)::integer from article_revisions where title like 'Gone with%') as revisions,
             (select count(*)::integer from former_slugs where slug like 'gone-with%') as slugs`;
    expect(left).toEqual({ revisions: 0, slugs: 0 });
  });
});

describe("the clean-up", () => {
  const clean = async (settings: Record<string, string>, name: "old revisions" | "excess revisions") =>
    purges(server.db, loadConfig(settings))[name]?.();

  test("deletes the oldest revisions of an article that has too many", async () => {
    await server.sql`delete from article_revisions`;
    const many = await server.publish(anna, { title: "Many", body: "0" });
    const few = await server.publish(anna, { title: "Few", body: "0" });
    for (let i = 1; i <= 5; i++) await edit(many.slug, { body: `${i}` });
    for (let i = 1; i <= 2; i++) await edit(few.slug, { body: `${i}` });
    expect(await clean({ REVISIONS_MAX: "3" }, "excess revisions")).toBe(2);
    expect(await clean({ REVISIONS_MAX: "3" }, "excess revisions")).toBe(0);
    expect([await bodiesOf(many.slug), await bodiesOf(few.slug)]).toEqual([
      ["4", "3", "2"],
      ["1", "0"],
    ]);
    await edit(many.slug, { body: "6" });
    expect((await listOf(many.slug))[0]?.number).toBe(6);
    expect(await clean({ REVISIONS_MAX: "0" }, "excess revisions")).toBe(6);
  });

  test("deletes revisions that are too old", async () => {
    const { slug } = await server.publish(anna, { title: "Old", body: "0" });
    for (let i = 1; i <= 3; i++) await edit(slug, { body: `${i}` });
    await server.sql`update article_revisions set replaced_at = now() - interval '8 days' where number < 3`;
    expect(await clean({ REVISIONS_MAX_AGE: "9d" }, "old revisions")).toBe(0);
    expect(await clean({ REVISIONS_MAX_AGE: "7d" }, "old revisions")).toBe(2);
    expect(await bodiesOf(slug)).toEqual(["2"]);
  });
});
