import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import {
  type Client,
  type ClientOptions,
  ConduitError,
  createClient,
  type SignedInResponse,
  type StaleArticleResponse,
  type Tokens,
} from "../../packages/client/src/index.ts";
import { RATE_LIMITS } from "../../src/features/identity/rate-limits.ts";
import { JWT_SECRET, type TestServer, testServer } from "../support/harness.ts";

let server: TestServer;
let anonymous: Client;
beforeAll(async () => {
  server = await testServer();
  anonymous = createClient({ baseUrl: server.url });
}, 60_000);
afterAll(() => server.stop());

function register(username: string, client = anonymous): Promise<SignedInResponse> {
  return client.createUser({
    body: { user: { username, email: `${username}@example.com`, password: "correct horse" } },
  });
}

async function signedIn(username: string): Promise<Client> {
  return createClient({ baseUrl: server.url, tokens: await register(username) });
}

const thrownBy = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error) => error,
  );

describe("an operation", () => {
  test("resolves to the body of the response", async () => {
    const ann = await signedIn("ann");
    const bob = await signedIn("bob");

    const { article } = await ann.createArticle({
      body: { article: { title: "Über uns", description: "About us", body: "Text", tagList: ["people"] } },
    });
    expect(article).toMatchObject({ slug: "uber-uns", tagList: ["people"], author: { username: "ann" } });

    const { comment } = await bob.createArticleComment({
      slug: article.slug,
      body: { comment: { body: "Well said" } },
    });
    expect((await anonymous.getArticleComments({ slug: article.slug })).comments).toEqual([comment]);

    expect((await bob.getArticlesFeed()).articlesCount).toBe(0);
    expect((await bob.followUserByUsername({ username: "ann" })).profile.following).toBe(true);
    const feed = await bob.getArticlesFeed({ limit: 5 });
    expect(feed.articles.map(({ slug }) => slug)).toEqual(["uber-uns"]);
    expect(feed.articles[0]?.author.following).toBe(true);

    expect((await bob.createArticleFavorite({ slug: article.slug })).article.favoritesCount).toBe(1);
    expect((await anonymous.getArticles({ tag: "people", favorited: "bob" })).articlesCount).toBe(1);
    expect((await anonymous.getArticles({ tag: "people", favorited: "ann" })).articlesCount).toBe(0);

    const deleted: unknown = await bob.deleteArticleComment({ slug: article.slug, id: comment.id });
    expect(deleted).toBeUndefined();
    expect((await ann.updateCurrentUser({ body: { user: { bio: "Writes" } } })).user.bio).toBe("Writes");
    expect((await anonymous.getTags()).tags).toEqual(["people"]);
  });

  test("throws an error with status, fields and headers", async () => {
    const error = (await thrownBy(anonymous.deleteArticle({ slug: "uber-uns" }))) as ConduitError;
    expect(error).toBeInstanceOf(ConduitError);
    expect(error.status).toBe(401);
    expect(error.errors).toEqual({ token: ["is missing"] });
    expect(error.headers.get("WWW-Authenticate")).toBe("Bearer");
    expect(error.message).toBe("DELETE /api/articles/uber-uns: 401 token is missing");
  });

  test("creates once with a key, and changes only the version that it has", async () => {
    const zoe = await signedIn("zoe");
    const body = { article: { title: "Once", description: "d", body: "b", tagList: [] } };
    const options = { idempotencyKey: 'a "quoted\\" key' };
    const { article } = await zoe.createArticle({ body }, options);
    expect((await zoe.createArticle({ body }, options)).article).toEqual(article);

    const { slug, version } = article;
    const change = { slug, body: { article: { body: "Changed" } } };
    const changed = await zoe.updateArticle(change, { ifVersion: version });
    const error = (await thrownBy(zoe.updateArticle(change, { ifVersion: version }))) as ConduitError;
    expect(error.status).toBe(412);
    expect((error.body as StaleArticleResponse).article).toEqual(changed.article);
  });

  test("encodes its arguments, and omits the ones that are undefined", async () => {
    const { urls, fetch } = recordingFetch();
    const client = createClient({ baseUrl: server.url, fetch });
    await thrownBy(client.getProfileByUsername({ username: "a b/ü?" }));
    await client.getArticles({ author: "x&y", limit: 2, tag: undefined });
    expect(urls).toEqual(["/api/profiles/a%20b%2F%C3%BC%3F", "/api/articles?author=x%26y&limit=2"]);
  });

  test.each(["", "/", "/api", "/api/"])("works with a base URL that ends in %p", async (end) => {
    const client = createClient({ baseUrl: `${server.url}${end}` });
    expect((await client.getArticles({ limit: 1 })).articles).toBeArray();
    expect((await client.getHealth()).status).toBe("ok");
  });

  test("can be aborted before and during the request", async () => {
    expect(await thrownBy(anonymous.getTags({}, { signal: AbortSignal.abort() }))).toMatchObject({
      name: "AbortError",
    });
    const controller = new AbortController();
    const tags = thrownBy(anonymous.getTags({}, { signal: controller.signal }));
    controller.abort();
    expect(await tags).toMatchObject({ name: "AbortError" });
  });

  test("sends the headers of the call in preference to the headers of the client", async () => {
    const [cat, dan] = [await register("cat"), await register("dan")];
    const client = createClient({
      baseUrl: server.url,
      headers: { Authorization: `Bearer ${cat.access_token}` },
    });
    expect((await client.getCurrentUser()).user.username).toBe("cat");
    const headers = { Authorization: `Bearer ${dan.access_token}` };
    expect((await client.getCurrentUser({ headers })).user.username).toBe("dan");
  });
});

describe("an expired access token", () => {
  test("is renewed once for requests that fail at the same time, and the requests succeed", async () => {
    const { urls, reported, client } = expiring(await register("eve"));
    const users = await Promise.all(Array.from({ length: 5 }, () => client.getCurrentUser()));
    expect(users.map(({ user }) => user.username)).toEqual(Array(5).fill("eve"));
    expect(urls.filter((url) => url === "/api/auth/refresh")).toHaveLength(1);
    expect(reported).toEqual([{ access_token: expect.any(String), refresh_token: expect.any(String) }]);

    const before = urls.length;
    expect((await client.getCurrentUser()).user.token).toBe(reported[0]?.access_token as string);
    expect(urls.slice(before)).toEqual(["/api/user"]);
  });

  test("is renewed where authentication is optional, so that the response is the user's own", async () => {
    const { client, reported } = expiring(await register("fay"));
    await client.followUserByUsername({ username: "ann" });
    const again = expiring(reported[0] as Tokens);
    expect((await again.client.getProfileByUsername({ username: "ann" })).profile.following).toBe(true);
    expect(again.reported).toHaveLength(1);
  });

  test("is renewed again when the new one expires, with the new refresh token", async () => {
    let store: Tokens | undefined = expired(await register("gus"));
    const client = createClient({ baseUrl: server.url, tokens: () => store, onTokens: (tokens) => (store = tokens) });
    await client.getCurrentUser();
    const first = store.refresh_token;
    store = expired(store);
    expect((await client.getCurrentUser()).user.username).toBe("gus");
    expect(store.refresh_token).not.toBe(first as string);
  });

  test("ends the session in the client if the server rejects the refresh token", async () => {
    const tokens = await register("hal");
    await anonymous.logOut({ body: tokens });
    const { urls, reported, client } = expiring(tokens);
    expect(await thrownBy(client.getCurrentUser())).toMatchObject({ status: 401, errors: { token: ["has expired"] } });
    expect(reported).toEqual([undefined]);
    expect(urls).toEqual(["/api/user", "/api/auth/refresh"]);
    // The client is anonymous from now on.
    expect(await thrownBy(client.getCurrentUser())).toMatchObject({ status: 401, errors: { token: ["is missing"] } });
    expect((await client.getArticles()).articles).toBeArray();
    expect(urls.filter((url) => url === "/api/auth/refresh")).toHaveLength(1);
  });

  test("is an error of the request if the client has no refresh token", async () => {
    const { urls, reported, client } = expiring({ ...(await register("ida")), refresh_token: undefined });
    expect(await thrownBy(client.getCurrentUser())).toMatchObject({ status: 401, errors: { token: ["has expired"] } });
    expect([urls, reported]).toEqual([["/api/user"], []]);
  });

  test("keeps the session if the renewal fails for another reason, and is renewed later", async () => {
    const none = { address: { max: 0, windowS: 60, from: "first" } } as const;
    const strict = await testServer({ address: server.address, rateLimits: { ...RATE_LIMITS, refresh: none } });
    let baseUrl = strict.url;
    const fetch: ClientOptions["fetch"] = (url, init) => globalThis.fetch(url.replace(server.url, baseUrl), init);
    const { reported, client } = expiring(await register("jan"), { fetch });
    expect(await thrownBy(client.getCurrentUser())).toMatchObject({
      status: 429,
      message: expect.stringContaining("POST /api/auth/refresh: 429"),
    });
    expect(reported).toEqual([]);
    baseUrl = server.url;
    expect((await client.getCurrentUser()).user.username).toBe("jan");
    await strict.stop();
  });

  test("does not sign the user in again who signs out during the renewal", async () => {
    let store: Tokens | undefined = expired(await register("kim"));
    const client = createClient({
      baseUrl: server.url,
      tokens: () => store,
      onTokens: (tokens) => (store = tokens),
      async fetch(url, init) {
        const response = await fetch(url, init);
        if (url.endsWith("/refresh")) store = undefined;
        return response;
      },
    });
    expect(await thrownBy(client.getCurrentUser())).toMatchObject({ status: 401 });
    expect(store).toBeUndefined();
  });

  test("is renewed once for two clients with the same store and lock", async () => {
    let store: Tokens | undefined = expired(await register("lea"));
    let last: Promise<unknown> = Promise.resolve();
    const { urls, fetch } = recordingFetch();
    const options: ClientOptions = {
      baseUrl: server.url,
      tokens: () => store,
      onTokens: (tokens) => (store = tokens),
      lock(renew) {
        const result = last.then(renew);
        last = result;
        return result;
      },
      fetch,
    };
    const clients = [createClient(options), createClient(options)];
    const users = await Promise.all(clients.map((client) => client.getCurrentUser()));
    expect(users.map(({ user }) => user.username)).toEqual(["lea", "lea"]);
    expect(urls.filter((url) => url === "/api/auth/refresh")).toHaveLength(1);
  });
});

/** A client whose access token has expired, with the paths that it requests and the tokens that it reports. */
function expiring(tokens: Tokens, options: Partial<ClientOptions> = {}) {
  const { urls, fetch } = recordingFetch();
  const reported: (Tokens | undefined)[] = [];
  const client = createClient({
    baseUrl: server.url,
    fetch,
    tokens: expired(tokens),
    onTokens: (renewed) => reported.push(renewed),
    ...options,
  });
  return { client, urls, reported };
}

/** The same tokens, an hour after the access token has expired. */
function expired({ access_token, refresh_token }: Tokens): Tokens {
  const [header, payload = ""] = access_token.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  const past = { ...claims, iat: claims.iat - 7_200, exp: claims.iat - 3_600 };
  const text = `${header}.${Buffer.from(JSON.stringify(past)).toString("base64url")}`;
  const signature = createHmac("sha256", JWT_SECRET).update(text).digest("base64url");
  return { access_token: `${text}.${signature}`, refresh_token };
}

/** The global `fetch`, with a list of the paths that it has requested. */
function recordingFetch() {
  const urls: string[] = [];
  const recording = (url: string, init: RequestInit): Promise<Response> => {
    urls.push(url.slice(server.url.length));
    return fetch(url, init);
  };
  return { urls, fetch: recording };
}
