import { beforeAll, describe, expect, test } from "bun:test";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { untilWaiting } from "../../support/locks.ts";

let server: TestServer;
let anna: TestUser;
let ben: TestUser;
beforeAll(async () => {
  server = await testServer();
  [anna, ben] = [await server.register("anna"), await server.register("ben")];
});

const pathOf = ({ slug }: { slug: string }): string => `/api/articles/${slug}`;

const read = async (article: ArticleJson) => server.request("GET", pathOf(article), { token: anna.token });

const etagOf = async (article: ArticleJson): Promise<string> => (await read(article)).headers.get("ETag") ?? "";

const withHeader = (ifMatch?: string) => (ifMatch === undefined ? {} : { headers: { "If-Match": ifMatch } });

const edit = (article: { slug: string }, change: object, ifMatch?: string, user = anna) =>
  server.request("PUT", pathOf(article), { token: user.token, body: { article: change }, ...withHeader(ifMatch) });

const remove = (article: { slug: string }, ifMatch?: string, user = anna) =>
  server.request("DELETE", pathOf(article), { token: user.token, ...withHeader(ifMatch) });

describe("an edit with If-Match", () => {
  test("succeeds on the version of the ETag, or with the version alone, and in a list of tags", async () => {
    const article = await server.publish(anna);
    expect(await etagOf(article)).toMatch(/^"1-[0-9a-z]+"$/);
    const sent = [await etagOf(article), '"2"', '"3-"', '"99", "4-x" , W/"5-x"', ', "x,y",,"5"', "*", " * "];
    for (const [i, tag] of sent.entries()) {
      const response = await edit(article, { body: `Body ${i}` }, tag);
      expect([tag, response.status, response.json.article.version]).toEqual([tag, 200, i + 2]);
    }
  });

  test("of an older version is 412 with the article as it is now, and changes nothing", async () => {
    const article = await server.publish(anna);
    const stale = await etagOf(article);
    const { json: newer } = await edit(article, { body: "Newer" });
    for (const response of [await edit(article, { body: "Older" }, stale), await remove(article, stale)]) {
      expect([response.status, response.headers.get("ETag")]).toEqual([412, await etagOf(article)]);
      expect(response.json.errors).toEqual({ article: ["has changed, its version is now 2"] });
      expect(response.json.article).toEqual(newer.article);
    }
    expect((await read(article)).json).toEqual(newer);
  });

  test("is not disturbed by a favourite, which changes the ETag for reads", async () => {
    const article = await server.publish(anna);
    const etag = await etagOf(article);
    await server.request("POST", `${pathOf(article)}/favorite`, { token: ben.token });
    expect(await etagOf(article)).not.toBe(etag);
    expect((await edit(article, { body: "Changed" }, etag)).status).toBe(200);
  });

  test("compares strongly: weak tags and those without a version match nothing", async () => {
    const article = await server.publish(anna);
    const etag = await etagOf(article);
    for (const tag of [`W/${etag}`, '"x-1"', '""', '"01x"', '"1234567890123"', '"-1"', '"0"']) {
      expect([tag, (await edit(article, { body: "Changed" }, tag)).status]).toEqual([tag, 412]);
    }
  });

  test("is 400 if it is malformed", async () => {
    const article = await server.publish(anna);
    for (const tag of ["1", "", '"1', '1"', '"1" "2"', '"1"; "2"', '*, "1"', 'w/"1"', '"a b"', ",", '"1" x']) {
      const response = await edit(article, { body: "Changed" }, tag);
      expect([tag, response.status, Object.keys(response.json.errors)]).toEqual([tag, 400, ["If-Match"]]);
      expect([tag, (await remove(article, tag)).status]).toEqual([tag, 400]);
    }
    expect((await read(article)).json.article.version).toBe(1);
  });

  test("of what is missing or somebody else's is 404 or 403, whatever the version", async () => {
    const article = await server.publish(anna);
    for (const tag of ["*", '"1"', '"7"']) {
      expect((await edit({ slug: "missing" }, { body: "b" }, tag)).status).toBe(404);
      expect((await edit(article, { body: "b" }, tag, ben)).status).toBe(403);
      expect((await remove({ slug: "missing" }, tag)).status).toBe(404);
      expect((await remove(article, tag, ben)).status).toBe(403);
    }
  });

  test("without a field checks the version as well", async () => {
    const article = await server.publish(anna);
    expect((await edit(article, {}, '"1"')).json.article.version).toBe(1);
    expect((await edit(article, {}, '"2"')).status).toBe(412);
  });
});

test("without the header, the last edit wins", async () => {
  const article = await server.publish(anna);
  for (const body of ["One", "Two"]) expect((await edit(article, { body })).status).toBe(200);
  expect((await read(article)).json.article.body).toBe("Two");
});

test("a deletion with If-Match deletes that version", async () => {
  const article = await server.publish(anna);
  expect((await remove(article, await etagOf(article))).status).toBe(204);
  expect((await read(article)).status).toBe(404);
});

test("of many edits of one version at the same time, exactly one succeeds", async () => {
  const article = await server.publish(anna);
  const responses = await Promise.all(
    Array.from({ length: 12 }, (_, i) => edit(article, { body: `Body ${i}` }, '"1"')),
  );
  const winners = responses.filter(({ status }) => status === 200);
  expect([winners.length, responses.filter(({ status }) => status === 412).length]).toEqual([1, 11]);
  expect((await read(article)).text).toBe(winners[0]?.text as string);
});

describe("a write that waits for another edit", () => {
  for (const [name, send] of [
    ["edit", (article: ArticleJson) => edit(article, { body: "Second" }, '"1"')],
    ["deletion", (article: ArticleJson) => remove(article, '"1"')],
  ] as const) {
    test(`is compared with what that has written: ${name}`, async () => {
      const article = await server.publish(anna);
      const sent = await server.sql.begin(async (tx) => {
        await tx`update articles set body = 'First', version = version + 1 where slug = ${article.slug}`;
        const response = send(article);
        await untilWaiting(server.sql, 1);
        return { response };
      });
      const { status, json } = await sent.response;
      expect([status, json.article.body]).toEqual([412, "First"]);
    });
  }
});
