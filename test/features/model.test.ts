import { expect, test } from "bun:test";
import fc from "fast-check";
import { skeletonOf } from "../../src/features/identity/users/names.ts";
import { type ArticleJson, type TestResponse, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { type Filters, Model } from "../support/model.ts";
import { addUsers } from "../support/people.ts";
import { SEED } from "../support/random.ts";

const USERNAMES = ["uma", "vera", "wanda"];
/** More names than people; some are equal to others. */
const NAMES = [...USERNAMES, "UMA", "Vera", "Xénia", "XÉNIA"];
const TAGS = ["a", "B", "é", "🐉", "\uffee"];
const TITLES = ["One", "one!", "Two", "Feed", "你好", "?"];

const index = fc.nat(20);
const fields = {
  title: fc.constantFrom(...TITLES),
  description: fc.constantFrom("d", "e"),
  body: fc.constantFrom("b", "c"),
  tagList: fc.array(fc.constantFrom(...TAGS), { maxLength: 4 }),
};

/** One write. People, articles and comments are chosen by number from those that exist at the time. */
const write = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("publish" as const), by: index, fields: fc.record(fields) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("draft" as const), by: index, fields: fc.record(fields) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("status" as const),
      by: index,
      article: index,
      isPublished: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("edit" as const),
      by: index,
      article: index,
      fields: fc.record(fields, { requiredKeys: [] }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), by: index, article: index }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("favorite" as const), by: index, article: index }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("unfavorite" as const), by: index, article: index }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("follow" as const), by: index, person: index }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unfollow" as const), by: index, person: index }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("comment" as const), by: index, article: index }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("uncomment" as const), by: index, article: index, comment: index }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("rename" as const), by: index, name: fc.constantFrom(...NAMES) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("bio" as const), by: index, bio: fc.constantFrom("", "x", null) }),
  },
);
type Write = typeof write extends fc.Arbitrary<infer Value> ? Value : never;

/** Does the same to the server and to the model, and compares the responses. */
async function perform(server: TestServer, tokens: string[], model: Model, step: Write): Promise<void> {
  const by = model.person(step.by);
  const token = tokens[model.people.indexOf(by)];
  const send = (method: string, path: string, body?: unknown) => server.request(method, path, { token, body });
  const expectStatus = (response: TestResponse, status: number) =>
    expect([response.status, response.text]).toEqual([status, expect.any(String)]);

  switch (step.kind) {
    case "publish":
    case "draft": {
      const status = step.kind === "draft" ? { status: "draft" } : {};
      const response = await send("POST", "/api/articles", { article: { ...step.fields, ...status } });
      expectStatus(response, 201);
      const article = model.add(by, step.fields, step.kind === "publish", response.json.article);
      expect(response.json.article).toEqual(model.articleJson(article, by));
      return;
    }
    case "follow":
    case "unfollow": {
      const person = model.person(step.person);
      const path = `/api/profiles/${encodeURIComponent(person.username.toUpperCase())}/follow`;
      const response = await send(step.kind === "follow" ? "POST" : "DELETE", path);
      if (step.kind === "follow" && person === by) return expectStatus(response, 422);
      by.follows[step.kind === "follow" ? "add" : "delete"](person);
      expectStatus(response, 200);
      expect(response.json.profile).toEqual(model.profile(person, by));
      return;
    }
    case "rename": {
      const response = await send("PUT", "/api/user", { user: { username: step.name } });
      if (model.isTaken(step.name, by)) return expectStatus(response, 409);
      expectStatus(response, 200);
      by.username = step.name;
      return;
    }
    case "bio": {
      expectStatus(await send("PUT", "/api/user", { user: { bio: step.bio } }), 200);
      by.bio = step.bio || null;
      return;
    }
  }

  const article = model.article(step.article);
  const path = `/api/articles/${article?.slug ?? "none"}`;
  const isVisible = article !== undefined && model.isVisible(article, by);
  const isPublished = article?.isPublished === true;
  switch (step.kind) {
    case "status": {
      const status = step.isPublished ? "published" : "draft";
      const response = await send("PUT", path, { article: { status } });
      if (article === undefined || !isVisible) return expectStatus(response, 404);
      if (article.author !== by) return expectStatus(response, 403);
      expectStatus(response, 200);
      model.setPublished(article, step.isPublished, response.json.article);
      expect(response.json.article).toEqual(model.articleJson(article, by));
      return;
    }
    case "edit": {
      const response = await send("PUT", path, { article: step.fields });
      if (article === undefined || !isVisible) return expectStatus(response, 404);
      if (article.author !== by) return expectStatus(response, 403);
      expectStatus(response, 200);
      model.edit(article, step.fields, response.json.article);
      expect(response.json.article).toEqual(model.articleJson(article, by));
      return;
    }
    case "delete": {
      const response = await send("DELETE", path);
      if (article === undefined || !isVisible) return expectStatus(response, 404);
      if (article.author !== by) return expectStatus(response, 403);
      expectStatus(response, 204);
      model.articles = model.articles.filter((other) => other !== article);
      return;
    }
    case "favorite":
    case "unfavorite": {
      const response = await send(step.kind === "favorite" ? "POST" : "DELETE", `${path}/favorite`);
      if (article === undefined || !isPublished) return expectStatus(response, 404);
      expectStatus(response, 200);
      article.favoritedBy[step.kind === "favorite" ? "add" : "delete"](by);
      expect(response.json.article).toEqual(model.articleJson(article, by));
      return;
    }
    case "comment": {
      const response = await send("POST", `${path}/comments`, { comment: { body: `by ${by.username}` } });
      if (article === undefined || !isPublished) return expectStatus(response, 404);
      expectStatus(response, 201);
      const { id, createdAt } = response.json.comment;
      article.comments.push({ json: { id, createdAt, updatedAt: createdAt, body: `by ${by.username}` }, author: by });
      expect(response.json.comment).toEqual(model.commentsJson(article, by)[0] as typeof response.json.comment);
      return;
    }
    case "uncomment": {
      const comment = article?.comments[step.comment % Math.max(1, article.comments.length)];
      const response = await send("DELETE", `${path}/comments/${comment?.json.id ?? 0}`);
      if (article === undefined || comment === undefined || !isVisible) return expectStatus(response, 404);
      if (comment.author !== by && article.author !== by) return expectStatus(response, 403);
      expectStatus(response, 204);
      article.comments = article.comments.filter((other) => other !== comment);
    }
  }
}

/** Every combination of filters, with different pages. */
function* everyList(model: Model): Generator<Filters> {
  const names = [undefined, ...model.people.map(({ username }) => username), "unknown"];
  const pages = [{}, { limit: 1 }, { limit: 2, offset: 1 }, { offset: 2 }, { limit: 3, offset: 1000 }];
  let i = 0;
  for (const tag of [undefined, "a", "🐉", "unused"]) {
    for (const author of names) {
      for (const favorited of names) {
        yield {
          ...(tag === undefined ? {} : { tag }),
          ...(author === undefined ? {} : { author }),
          ...(favorited === undefined ? {} : { favorited }),
          ...pages[i++ % pages.length],
        };
      }
    }
  }
  yield* pages;
}

const queryOf = (filters: Filters): string => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) query.set(name, String(value));
  return query.size === 0 ? "" : `?${query}`;
};

/** Compares everything that can be read, by each user and by anonymous readers. */
async function compareAll(server: TestServer, tokens: string[], model: Model): Promise<void> {
  const reads: Promise<void>[] = [];
  const expectJson = async (path: string, viewer: number, expected: unknown) => {
    const { status, json } = await server.request("GET", path, { token: tokens[viewer] });
    expect({ path, viewer, status, json }).toEqual({ path, viewer, status: 200, json: expected as typeof json });
  };
  const expectList = async (path: string, viewer: number, expected: { hasNextPage: boolean }) => {
    const { status, json } = await server.request("GET", path, { token: tokens[viewer] });
    const { nextCursor, ...list } = json;
    const compared = { ...list, hasNextPage: nextCursor !== null } as unknown;
    expect({ path, viewer, status, json: compared }).toEqual({ path, viewer, status: 200, json: expected });
  };
  const expectMissing = async (path: string, viewer: number) => {
    const { status, json } = await server.request("GET", path, { token: tokens[viewer] });
    expect({ path, viewer, status, json }).toEqual({
      path,
      viewer,
      status: 404,
      json: { errors: { article: ["not found"] } } as unknown as typeof json,
    });
  };
  // The last one is not a person, so anonymous.
  const viewers = [0, 1, 2, 3];

  let i = 0;
  for (const filters of everyList(model)) {
    // Each list for one viewer, and the list without filters for all.
    const isPlain = Object.keys(filters).length === 0;
    for (const viewer of isPlain ? viewers : [i++ % viewers.length]) {
      reads.push(expectList(`/api/articles${queryOf(filters)}`, viewer, model.list(filters, model.people[viewer])));
    }
  }
  for (const [viewer, person] of model.people.entries()) {
    const drafts = { articles: model.drafts(person), nextCursor: null };
    reads.push(expectJson("/api/user/articles?limit=100", viewer, drafts));
    for (const page of [{}, { limit: 1 }, { limit: 2, offset: 1 }, { offset: 1000 }]) {
      reads.push(expectList(`/api/articles/feed${queryOf(page)}`, viewer, model.feed(page, person)));
    }
  }
  for (const viewer of viewers) {
    const person = model.people[viewer];
    for (const other of model.people) {
      const path = `/api/profiles/${encodeURIComponent(other.username.toLowerCase())}`;
      reads.push(expectJson(path, viewer, { profile: model.profile(other, person) }));
    }
    for (const article of model.articles) {
      const path = `/api/articles/${article.slug}`;
      if (!model.isVisible(article, person)) {
        reads.push(expectMissing(path, viewer), expectMissing(`${path}/comments`, viewer));
        continue;
      }
      reads.push(expectJson(path, viewer, { article: model.articleJson(article, person) }));
      reads.push(
        expectJson(`${path}/comments`, viewer, { comments: model.commentsJson(article, person), nextCursor: null }),
      );
    }
  }
  reads.push(expectJson("/api/tags", 0, { tags: model.tags() }));
  await Promise.all(reads);
}

/**
 * With TEST_INSTANCES=2, each request goes to the next of several servers on one database, 50 ms after each write: then the
 * others have heard of it, unless the machine is busy.
 */
const INSTANCES = Number(process.env.TEST_INSTANCES ?? 1);
const HEARD_AFTER_MS = 50;

async function rotating(): Promise<{ server: TestServer; instances: readonly TestServer[] }> {
  const first = await testServer();
  const instances = [first];
  while (instances.length < INSTANCES) instances.push(await testServer({ address: first.address }));
  if (INSTANCES === 1) return { server: first, instances };
  let turn = 0;
  const request: TestServer["request"] = async (method, path, options) => {
    const response = await (instances[turn++ % INSTANCES] ?? first).request(method, path, options);
    if (method !== "GET") await Bun.sleep(HEARD_AFTER_MS);
    return response;
  };
  return { server: { ...first, request }, instances };
}

test(`after any history of writes, every response is that of a simple model in memory (TEST_SEED=${SEED})`, async () => {
  const { server, instances } = await rotating();
  const uma = await server.register("uma");
  const [vera, wanda] = (await addUsers(server, uma, USERNAMES.slice(1))) as [TestUser, TestUser];
  const tokens = [uma, vera, wanda].map(({ token }) => token);
  const ids = (await server.sql`select id from users order by username`).map((row: { id: string }) => row.id);

  async function startOver(): Promise<void> {
    await server.sql`delete from articles`;
    await server.sql`delete from follows`;
    await server.sql`update users set username = 'user ' || id, username_key = 'user ' || id, username_skeleton = 'user ' || id, bio = null`;
    for (const [i, username] of USERNAMES.entries()) {
      await server.sql`
        update users set username = ${username}, username_key = ${username}, username_skeleton = ${skeletonOf(username)}
         where id = ${ids[i]}`;
    }
    for (const { memory } of instances) memory.forgetEverything();
  }

  await fc.assert(
    fc.asyncProperty(fc.array(write, { maxLength: 40, size: "max" }), async (history) => {
      await startOver();
      const model = new Model(USERNAMES);
      for (const [i, step] of history.entries()) {
        await perform(server, tokens, model, step);
        // Now and then, so that memory holds much of what the next writes change.
        if (i % 10 === 9) await compareAll(server, tokens, model);
      }
      await compareAll(server, tokens, model);
    }),
    // Shrinking runs histories again, for a minute at most.
    { numRuns: 10, seed: SEED, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
  );
}, 120_000);

test("the comparison finds a difference", async () => {
  const server = await testServer();
  const uma = await server.register("uma");
  const model = new Model(["uma"]);
  const whole = { title: "t", description: "d", body: "b", tagList: ["a"] };
  const article = model.add(model.person(0), whole, true, await server.publish(uma, whole));
  await compareAll(server, [uma.token], model);
  article.favoritedBy.add(model.person(0));
  await expect(compareAll(server, [uma.token], model)).rejects.toThrow();
  article.favoritedBy.clear();
  const { slug, updatedAt }: Pick<ArticleJson, "slug" | "updatedAt"> = article;
  expect(() =>
    model.edit(article, { body: "x" }, { ...model.articleJson(article, undefined), slug, updatedAt }),
  ).toThrow();
});
