import { beforeAll, describe, expect, test } from "bun:test";
import { loadConfig } from "../../../src/config/settings.ts";
import { purges } from "../../../src/server/jobs.ts";
import { writeRates } from "../../../src/server/server.ts";
import { testBrowser } from "../../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer({ baseUrl: "http://conduit.example/app" });
  anna = await server.register("anna");
  bert = await server.register("bert");
});

async function rename(slug: string, title: string, by = anna): Promise<string> {
  const body = { article: { title } };
  const { status, json } = await server.request("PUT", `/api/articles/${slug}`, { token: by.token, body });
  expect(status).toBe(200);
  return json.article.slug;
}

/** Where a path leads, or its status if it leads nowhere. */
async function lookUp(path: string, on = server, method = "GET", token?: string): Promise<string | number> {
  const { status, headers } = await on.request(method, path, { token });
  if (status !== 308) return status;
  expect(headers.get("cache-control")).toBe("no-cache");
  return headers.get("location") ?? "";
}

describe("a former slug", () => {
  test("leads to the article, through any number of changes", async () => {
    const { slug } = await server.publish(anna, { title: "First title" });
    await rename(slug, "Second title");
    await rename("second-title", "Third title");
    for (const former of ["first-title", "second-title"]) {
      for (const method of ["GET", "HEAD"]) {
        expect(await lookUp(`/api/articles/${former}`, server, method)).toBe("/app/api/articles/third-title");
      }
      expect(await lookUp(`/api/articles/${former}?a=1&b=%20`)).toBe("/app/api/articles/third-title?a=1&b=%20");
      expect(await lookUp(`/api/articles/${former}/`)).toBe("/app/api/articles/third-title");
      expect(await lookUp(`/api/articles/${former}/comments?limit=1`)).toBe(
        "/app/api/articles/third-title/comments?limit=1",
      );
      const page = await testBrowser(server).get(`/article/${former}?from=a%20b`);
      expect([page.status, page.location]).toEqual([308, "/app/article/third-title?from=a%20b"]);
    }
    expect(await lookUp("/api/articles/third-title")).toBe(200);
  });

  test("is the article's again if its title comes back", async () => {
    const { slug } = await server.publish(anna, { title: "There" });
    const away = await rename(slug, "And back");
    expect(await rename(away, "There")).toBe("there");
    expect([await lookUp("/api/articles/there"), await lookUp("/api/articles/and-back")]).toEqual([
      200,
      "/app/api/articles/there",
    ]);
  });

  test("is not given to another article, neither a new one nor by a new title", async () => {
    const { slug } = await server.publish(anna, { title: "Wanted by others" });
    await rename(slug, "Elsewhere now");
    const suffixed = /^wanted-by-others-[a-z0-9]{8}$/;
    const published = await server.publish(bert, { title: "Wanted by others" });
    expect(published.slug).toMatch(suffixed);
    const other = await server.publish(bert, { title: "Something else" });
    expect(await rename(other.slug, "Wanted by others", bert)).toMatch(suffixed);
    expect(await lookUp("/api/articles/wanted-by-others")).toBe("/app/api/articles/elsewhere-now");
  });

  test("does not write: only reads are redirected", async () => {
    const { slug } = await server.publish(anna, { title: "Read only" });
    await rename(slug, "Read only elsewhere");
    for (const [method, path] of [
      ["PUT", slug],
      ["DELETE", slug],
      ["POST", `${slug}/favorite`],
    ] as const) {
      const body = method === "PUT" ? { article: { body: "b" } } : undefined;
      const { status } = await server.request(method, `/api/articles/${path}`, { token: anna.token, body });
      expect([method, status]).toEqual([method, 404]);
    }
  });

  test("is not found after the article is deleted, and can be used again", async () => {
    const { slug } = await server.publish(anna, { title: "Deleted later" });
    const now = await rename(slug, "Deleted soon");
    await server.request("DELETE", `/api/articles/${now}`, { token: anna.token });
    expect([await lookUp(`/api/articles/${slug}`), await lookUp(`/api/articles/${now}`)]).toEqual([404, 404]);
    expect((await server.publish(bert, { title: "Deleted later" })).slug).toBe("deleted-later");
  });

  test("leads a signed-in author from the page of the editor", async () => {
    const { slug } = await server.publish(anna, { title: "Edited here" });
    await rename(slug, "Edited there");
    const browser = testBrowser(server);
    browser.setCookie("conduit_session", `${anna.token}~${anna.refreshToken}`);
    for (const path of ["", "/revisions"]) {
      expect((await browser.get(`/editor/${slug}${path}`)).location).toBe(`/app/editor/edited-there${path}`);
    }
  });

  test("is right at once on every server, whatever they hold in memory", async () => {
    const other = await testServer({ address: server.address, baseUrl: "http://conduit.example/app" });
    const { slug } = await server.publish(anna, { title: "Held before" });
    for (const on of [server, other])
      for (let i = 0; i < 2; i++) expect(await lookUp(`/api/articles/${slug}`, on)).toBe(200);
    await rename(slug, "Held after");
    const seen = await Promise.all([slug, "held-after"].map((one) => lookUp(`/api/articles/${one}`)));
    expect(seen).toEqual(["/app/api/articles/held-after", 200]);
    await rename("held-after", "Held before");
    const back = await Promise.all([slug, "held-after"].map((one) => lookUp(`/api/articles/${one}`)));
    expect(back).toEqual([200, "/app/api/articles/held-before"]);
  });
});

describe("with DELETED_ARTICLES=410", () => {
  test("the addresses of a deleted article say so, until another article is there", async () => {
    const remembering = await testServer({ address: server.address, deletedArticles: 410 });
    const { slug } = await server.publish(anna, { title: "Remembered" });
    const now = await rename(slug, "Remembered well");
    await remembering.request("DELETE", `/api/articles/${now}`, { token: anna.token });
    for (const path of [slug, now, `${now}/comments`]) {
      const { status, json } = await server.request("GET", `/api/articles/${path}`);
      expect([path, status, json.errors]).toEqual([path, 410, { article: ["has been deleted"] }]);
    }
    expect((await testBrowser(server).get(`/article/${slug}`)).status).toBe(410);
    expect(await lookUp("/api/articles/never-there")).toBe(404);
    expect((await server.publish(bert, { title: "Remembered" })).slug).toBe(slug);
    expect(await lookUp(`/api/articles/${slug}`)).toBe(200);
    const clean = (settings: object) => purges(server.db, loadConfig({ ...settings }))["addresses of deleted articles"];
    expect(clean({ DELETED_ARTICLES: "410" })).toBeUndefined();
    expect(await clean({})?.()).toBe(2);
    expect(await lookUp(`/api/articles/${now}`)).toBe(404);
  });
});

describe("a former username", () => {
  const renameUser = (user: TestUser, username: string, on = server) =>
    on.request("PUT", "/api/user", { token: user.token, body: { user: { username } } });

  test("leads to the user until somebody takes it", async () => {
    const carl = await server.register("carl");
    expect((await renameUser(carl, "Karl der Große")).status).toBe(200);
    expect(await lookUp("/api/profiles/CARL?x=1")).toBe("/app/api/profiles/Karl%20der%20Gro%C3%9Fe?x=1");
    const browser = testBrowser(server);
    for (const path of ["", "/favorites"]) {
      const page = await browser.get(`/profile/carl${path}?page=2`);
      expect([page.status, page.location]).toEqual([308, `/app/profile/Karl%20der%20Gro%C3%9Fe${path}?page=2`]);
    }
    const other = { username: "Carl", email: "other@example.com", password: "correct horse" };
    expect((await server.request("POST", "/api/users", { body: { user: other } })).status).toBe(201);
    expect((await server.request("GET", "/api/profiles/carl")).json.profile.username).toBe("Carl");
    await server.sql`delete from users where username = ${other.username}`;
    expect(await lookUp("/api/profiles/carl")).toBe(404);
  });

  test("leads to its last owner, and to nobody who has a new name only in other letters", async () => {
    const dora = await server.register("dora");
    const emil = await server.register("emil");
    await renameUser(dora, "DORA");
    expect(await lookUp("/api/profiles/dora")).toBe(200);
    await renameUser(dora, "dora2");
    await renameUser(emil, "dora");
    expect((await server.request("GET", "/api/profiles/dora")).json.profile.username).toBe("dora");
    await renameUser(emil, "emil2");
    expect([await lookUp("/api/profiles/dora"), await lookUp("/api/profiles/emil")]).toEqual([
      "/app/api/profiles/emil2",
      "/app/api/profiles/emil2",
    ]);
    await renameUser(emil, "emil");
    expect([await lookUp("/api/profiles/emil"), await lookUp("/api/profiles/emil2")]).toEqual([
      200,
      "/app/api/profiles/emil",
    ]);
  });

  test("is limited: a user has only so many in a time", async () => {
    const strict = await testServer({
      address: server.address,
      writeRates: { ...writeRates(loadConfig({})), renames: { max: 2, windowS: 600 } },
    });
    const fred = await server.register("fred");
    for (const name of ["fred1", "fred2", "FRED2", "fred2"]) {
      expect((await renameUser(fred, name, strict)).status).toBe(200);
    }
    const { status, headers } = await renameUser(fred, "fred3", strict);
    expect([status, Number(headers.get("retry-after")) > 0]).toEqual([429, true]);
  });
});
