import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Client, ConduitError, createClient } from "../../packages/client/conduit.ts";
import { type TestServer, testServer } from "../support/harness.ts";

let server: TestServer;
let anybody: Client;
beforeAll(async () => {
  server = await testServer();
  anybody = createClient({ baseUrl: server.url });
}, 30_000);
afterAll(() => server.stop());

async function register(username: string): Promise<Client> {
  const { user } = await anybody.createUser({
    body: { user: { username, email: `${username}@example.com`, password: "correct horse" } },
  });
  return anybody.withToken(user.token);
}

const thrown = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => undefined).catch((error) => error);

describe("the typed client", () => {
  test("registers, publishes, comments, follows and reads the feed", async () => {
    const ann = await register("ann");
    const bob = await register("bob");

    const { article } = await ann.createArticle({
      body: { article: { title: "Über uns", description: "About us", body: "Text", tagList: ["people"] } },
    });
    expect(article).toMatchObject({ slug: "uber-uns", tagList: ["people"], author: { username: "ann" } });

    const { comment } = await bob.createArticleComment({
      slug: article.slug,
      body: { comment: { body: "Well said" } },
    });
    expect((await anybody.getArticleComments({ slug: article.slug })).comments).toEqual([comment]);

    expect((await bob.getArticlesFeed()).articlesCount).toBe(0);
    expect((await bob.followUserByUsername({ username: "ann" })).profile.following).toBe(true);
    const feed = await bob.getArticlesFeed({ limit: 5 });
    expect(feed.articles.map(({ slug }) => slug)).toEqual(["uber-uns"]);
    expect(feed.articles[0]?.author.following).toBe(true);

    expect((await bob.createArticleFavorite({ slug: article.slug })).article.favoritesCount).toBe(1);
    expect((await anybody.getArticles({ tag: "people", favorited: "bob" })).articlesCount).toBe(1);
    expect((await anybody.getArticles({ tag: "people", favorited: "ann" })).articlesCount).toBe(0);

    const deleted: unknown = await bob.deleteArticleComment({ slug: article.slug, id: comment.id });
    expect(deleted).toBeUndefined();
    expect((await ann.updateCurrentUser({ body: { user: { bio: "Writes" } } })).user.bio).toBe("Writes");
    expect((await anybody.getTags()).tags).toEqual(["people"]);
  });

  test("throws what is wrong, with status, fields and headers", async () => {
    const error = (await thrown(anybody.deleteArticle({ slug: "uber-uns" }))) as ConduitError;
    expect(error).toBeInstanceOf(ConduitError);
    expect(error.status).toBe(401);
    expect(error.errors).toEqual({ token: ["is missing"] });
    expect(error.headers.get("WWW-Authenticate")).toBe("Bearer");
    expect(error.message).toBe("DELETE /api/articles/uber-uns: 401 token is missing");
  });

  test("puts any name into a path, and nothing that was left out into the query", async () => {
    const seen: string[] = [];
    const spy = createClient({
      baseUrl: `${server.url}/`,
      token: () => "fresh",
      fetch(url, init) {
        seen.push(`${url.slice(server.url.length)} ${new Headers(init.headers).get("Authorization")}`);
        return fetch(url, init);
      },
    });
    await thrown(spy.getProfileByUsername({ username: "a b/ü?" }));
    await thrown(spy.getArticles({ author: "x&y", limit: 2 }));
    expect(seen).toEqual([
      "/api/profiles/a%20b%2F%C3%BC%3F Bearer fresh",
      "/api/articles?author=x%26y&limit=2 Bearer fresh",
    ]);
  });

  test("does not compile where a call or an answer is not what the API has", async () => {
    const folder = await mkdtemp(join(tmpdir(), "conduit-client-"));
    try {
      await cp(join(import.meta.dir, "../../packages/client/conduit.ts"), join(folder, "conduit.ts"));
      await Bun.write(
        join(folder, "use.ts"),
        `import { createClient } from "./conduit.ts";
const client = createClient({ baseUrl: "" });
client.getArticle({ slug: "a" }).then(({ article }) => article.title.length);
// @ts-expect-error
client.getArticle({});
// @ts-expect-error
client.createUser({ body: { user: { username: "a" } } });
// @ts-expect-error
client.getArticles().then(({ articles }) => articles[0]?.body);
// @ts-expect-error
client.getUsers();
`,
      );
      const options = [
        "--noEmit",
        "--strict",
        "--lib",
        "esnext,dom",
        "--module",
        "preserve",
        "--types",
        "",
        "--ignoreConfig",
      ];
      const tsc = Bun.spawn(
        [join(import.meta.dir, "../../node_modules/.bin/tsc"), ...options, "--allowImportingTsExtensions", "use.ts"],
        { cwd: folder, stdout: "pipe" },
      );
      expect(await tsc.stdout.text()).toBe("");
      expect(await tsc.exited).toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
