import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { servedRoutes } from "../../../src/http/openapi.ts";
import { BROWSER_ACCEPT, testBrowser } from "../../support/browser.ts";
import {
  type ArticleJson,
  type RequestOptions,
  type TestServer,
  type TestUser,
  testApp,
  testServer,
} from "../../support/harness.ts";
import { jobsOf } from "../../support/jobs.ts";
import { addUsers } from "../../support/people.ts";
import { expectExact } from "../../support/recounts.ts";

const TEXTS = { title: "A draft", description: "A description", body: "A body" };
const JOB = "publish_article";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
});
afterAll(() => server.stop());

const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
const post = (article: object, user = anna) =>
  server.request("POST", "/api/articles", { token: user.token, body: { article: { ...TEXTS, ...article } } });
const put = (slug: string, article: object, user = anna) =>
  server.request("PUT", `/api/articles/${slug}`, { token: user.token, body: { article } });
const read = (slug: string, user?: TestUser) => server.request("GET", `/api/articles/${slug}`, { token: user?.token });
const begin = async (article: object = {}, user = anna): Promise<ArticleJson> => {
  const { status, json } = await post({ status: "draft", ...article }, user);
  expect(status).toBe(201);
  return json.article;
};
const drafts = async (query = "", user = anna) =>
  (await server.request("GET", `/api/user/articles${query}`, { token: user.token })).json;
const slugs = (articles: ArticleJson[]) => articles.map(({ slug }) => slug);
const waiting = async () => (await jobsOf(server.sql, JOB)).length;

describe("the status of a new article", () => {
  test("is published, unless the request has another one", async () => {
    expect((await post({})).json.article).toMatchObject({ status: "published", publishAt: null });
    expect((await post({ status: "published", publishAt: null })).json.article.status).toBe("published");
  });

  test("draft is shown to its author, with no time of publication", async () => {
    const draft = await begin();
    expect(draft).toMatchObject({ ...TEXTS, status: "draft", publishAt: null, publishedAt: null as never });
    expect((await read(draft.slug, anna)).json.article).toEqual(draft);
    expect(
      (await server.request("GET", `/api/articles/${draft.slug}/comments`, { token: anna.token })).json.comments,
    ).toEqual([]);
  });

  test("scheduled requires a time in the future, and no other status has a time", async () => {
    for (const [fields, problem] of [
      [{ status: "scheduled" }, "can't be blank"],
      [{ status: "scheduled", publishAt: null }, "can't be blank"],
      [{ status: "scheduled", publishAt: new Date(Date.now() - 1).toISOString() }, "must be in the future"],
      [{ status: "scheduled", publishAt: inMinutes(367 * 24 * 60) }, "must be within a year"],
      [{ status: "scheduled", publishAt: "tomorrow" }, "must be a time like 2026-01-31T12:34:56Z"],
      [{ status: "scheduled", publishAt: 7 }, "must be a time like 2026-01-31T12:34:56Z"],
      [{ status: "draft", publishAt: inMinutes(1) }, "requires the status scheduled"],
      [{ publishAt: inMinutes(1) }, "requires the status scheduled"],
    ] as const) {
      const { slug } = await begin();
      for (const response of [await post(fields), await put(slug, fields)]) {
        expect([fields, response.status, response.json.errors]).toEqual([fields, 422, { publishAt: [problem] }]);
      }
    }
    expect((await post({ status: "secret" })).json.errors).toEqual({
      status: ["must be draft, scheduled or published"],
    });
    const publishAt = inMinutes(60);
    expect((await post({ status: "scheduled", publishAt })).json.article).toMatchObject({
      status: "scheduled",
      publishAt,
      publishedAt: null as never,
    });
  });

  test("follows the same rules otherwise: a draft is complete", async () => {
    const { status, json } = await post({ status: "draft", title: "", body: undefined });
    expect([status, json.errors]).toEqual([422, { title: ["can't be blank"], body: ["can't be blank"] }]);
  });
});

describe("a change of the status", () => {
  test("publishes a draft, at the time of its publication", async () => {
    const draft = await begin({ title: "Published later", tagList: ["later"] });
    // Times have milliseconds.
    while (Date.now() <= Date.parse(draft.createdAt)) await Bun.sleep(1);
    const { json } = await put(draft.slug, { status: "published" });
    const { publishedAt, updatedAt, createdAt } = json.article;
    expect(json.article).toMatchObject({ slug: "published-later", status: "published", publishAt: null });
    expect(createdAt).toBe(draft.createdAt);
    expect(publishedAt > createdAt).toBe(true);
    expect(updatedAt).toBe(publishedAt);
    expect((await server.request("GET", "/api/articles?tag=later")).json.articles[0]).toMatchObject({ publishedAt });
    await expectExact(server);
  });

  test("keeps comments, favourites and the time of publication, and shows them again", async () => {
    const own = await testServer();
    const cora = await own.register("cora");
    const [dave] = (await addUsers(own, cora, ["dave"])) as [TestUser];
    const send = async (method: string, path: string, user: TestUser, article?: object) => {
      const response = await own.request(method, path, {
        token: user.token,
        ...(article === undefined ? {} : { body: { article } }),
      });
      expect(response.status).toBeLessThan(300);
      return response.json;
    };
    const first = await own.publish(cora, { title: "First", tagList: ["x"] });
    await own.publish(cora, { title: "Second", tagList: ["x"] });
    await send("POST", "/api/articles/first/favorite", dave);
    const body = { comment: { body: "Well said" } };
    await own.request("POST", "/api/articles/first/comments", { token: dave.token, body });
    const titlesOf = async (query: string) => {
      const { articles, articlesCount } = (await own.request("GET", `/api/articles?${query}`)).json;
      return [articles.map(({ title }) => title).join(" "), articlesCount];
    };

    const withdrawn = await send("PUT", "/api/articles/first", cora, { status: "draft" });
    expect(withdrawn.article).toMatchObject({ publishedAt: first.publishedAt, favoritesCount: 1, slug: "first" });
    for (const query of ["", "tag=x", "author=cora"]) expect(await titlesOf(query)).toEqual(["Second", 1]);
    for (const query of ["favorited=dave", "favorited=dave&tag=x"]) expect(await titlesOf(query)).toEqual(["", 0]);
    expect((await send("GET", "/api/articles/first/comments", cora)).comments).toHaveLength(1);
    await expectExact(own);

    const again = await send("PUT", "/api/articles/first", cora, { status: "published" });
    expect(again.article).toEqual({ ...first, favoritesCount: 1 });
    // At its old place.
    for (const query of ["", "tag=x", "author=cora"]) expect(await titlesOf(query)).toEqual(["Second First", 2]);
    expect(await titlesOf("favorited=dave")).toEqual(["First", 1]);
    expect((await own.request("GET", "/api/articles/first/comments")).json.comments).toHaveLength(1);
    await expectExact(own);
    await own.stop();
  });

  test("comes with other changes, or none of them happens", async () => {
    const { slug } = await begin({ title: "Both", tagList: ["one"] });
    const refused = await put(slug, { status: "scheduled", body: "Another body" });
    expect(refused.status).toBe(422);
    expect((await read(slug, anna)).json.article.body).toBe(TEXTS.body);
    const { json } = await put(slug, { status: "published", title: "Both of them", tagList: ["two"] });
    expect(json.article).toMatchObject({ slug: "both-of-them", tagList: ["two"], status: "published" });
    expect((await server.request("GET", "/api/articles?tag=one")).json.articlesCount).toBe(0);
    await expectExact(server);
  });

  test("is only for the author", async () => {
    const { slug } = await begin();
    expect((await put(slug, { status: "published" }, bert)).status).toBe(404);
    const published = await server.publish(anna);
    expect((await put(published.slug, { status: "draft" }, bert)).status).toBe(403);
  });
});

describe("the slug of a draft", () => {
  test("never keeps another article from its own slug, so it does not reveal the draft", async () => {
    const draft = await begin({ title: "A surprise" });
    expect(draft.slug).toMatch(/^a-surprise-[0-9a-z]{8}$/);
    expect((await post({ title: "A surprise" }, bert)).json.article.slug).toBe("a-surprise");
    // The plain one is taken now.
    expect((await put(draft.slug, { status: "published" })).json.article.slug).toBe(draft.slug);
  });

  test("follows its title, with a suffix until the first publication", async () => {
    const { slug } = await begin({ title: "Working title" });
    const renamed = (await put(slug, { title: "Final title" })).json.article;
    expect(renamed.slug).toMatch(/^final-title-[0-9a-z]{8}$/);
    expect((await put(renamed.slug, { status: "published" })).json.article.slug).toBe("final-title");
    expect((await put("final-title", { status: "draft" })).json.article.slug).toBe("final-title");
    const hidden = (await put("final-title", { title: "Hidden title" })).json.article;
    expect(hidden.slug).toMatch(/^hidden-title-[0-9a-z]{8}$/);
    // It was published under other slugs before.
    expect((await put(hidden.slug, { status: "published" })).json.article.slug).toBe(hidden.slug);
  });

  test("may be wanted by two articles at the same moment", async () => {
    const both = [await begin({ title: "Twins" }), await begin({ title: "Twins" })];
    const published = await Promise.all(both.map(({ slug }) => put(slug, { status: "published" })));
    expect(published.map(({ status }) => status)).toEqual([200, 200]);
    expect(published.filter(({ json }) => json.article.slug === "twins")).toHaveLength(1);
  });
});

describe("the job of a scheduled article", () => {
  test("is added, replaced and removed with the article's status", async () => {
    const before = await waiting();
    const { slug } = (await post({ status: "scheduled", publishAt: inMinutes(60) })).json.article;
    expect(await waiting()).toBe(before + 1);
    const publishAt = inMinutes(120);
    expect((await put(slug, { status: "scheduled", publishAt })).json.article.publishAt).toBe(publishAt);
    expect(await waiting()).toBe(before + 1);
    const [{ at }] =
      await server.sql`select max(run_at) as at from graphile_worker.jobs where task_identifier = ${JOB}`;
    expect(at.toISOString()).toBe(publishAt);
    await put(slug, { status: "draft" });
    expect(await waiting()).toBe(before);
    await put(slug, { status: "scheduled", publishAt });
    await put(slug, { status: "published" });
    expect(await waiting()).toBe(before);
  });

  test("is not added if the article is not", async () => {
    const before = await waiting();
    await post({ status: "scheduled", publishAt: inMinutes(60), title: "" });
    expect(await waiting()).toBe(before);
  });
});

describe("GET /api/user/articles", () => {
  test("lists one's own drafts and scheduled articles by cursor, those begun last first", async () => {
    const [cleo] = (await addUsers(server, anna, ["cleo"])) as [TestUser];
    expect(await drafts("", cleo)).toEqual({ articles: [], nextCursor: null } as never);
    const begun: ArticleJson[] = [];
    for (let i = 0; i < 5; i++) {
      const status = i % 2 === 0 ? { status: "draft" } : { status: "scheduled", publishAt: inMinutes(60) };
      begun.unshift(await begin({ title: `Number ${i}`, ...status }, cleo));
    }
    await server.publish(cleo);
    const all = slugs(begun);
    expect(slugs((await drafts("", cleo)).articles)).toEqual(all);
    const { body: _, ...preview } = begun[0] as ArticleJson;
    expect((await drafts("?limit=1", cleo)).articles).toEqual([preview as ArticleJson]);
    expect(slugs((await drafts("?status=scheduled", cleo)).articles)).toEqual([all[1], all[3]] as string[]);
    expect(slugs((await drafts("?status=draft", cleo)).articles)).toEqual([all[0], all[2], all[4]] as string[]);
    const walked: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page = await drafts(`?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`, cleo);
      walked.push(...slugs(page.articles));
      cursor = page.nextCursor;
    }
    expect(walked).toEqual(all);
    expect(slugs((await drafts("", bert)).articles)).toEqual([]);
  });

  test("refuses other values and anonymous readers", async () => {
    expect((await drafts("?status=published")).errors).toEqual({ status: ["must be draft or scheduled"] });
    expect((await server.request("GET", "/api/user/articles")).status).toBe(401);
  });
});

describe("nobody but the author sees a draft:", () => {
  const SECRET = "xyzzy";
  /** Of another title, so that the texts of responses may not contain it. */
  const routes = () => servedRoutes(testApp(server.db).routes).filter((route) => !/ \/(health|metrics)/.test(route));
  const BODIES: Readonly<Record<string, object>> = {
    "PUT /api/articles/:slug": { article: { body: "another" } },
    "POST /api/articles/:slug/comments": { comment: { body: "a comment" } },
  };
  /** Queries with which lists would show it. */
  const QUERIES = [
    "",
    "?limit=100",
    "?offset=1",
    `?tag=${SECRET}`,
    "?author=anna",
    "?favorited=bert",
    `?tag=${SECRET}&author=anna&favorited=bert`,
    `?q=${SECRET}`,
    `?q=${SECRET}&author=anna`,
    "?feed=following",
    "?page=2",
  ];

  /** A draft, a scheduled article, and one that was published, favorited and commented on before. */
  async function hide(): Promise<{ slug: string; commentId: number }[]> {
    const secret = { title: `The ${SECRET}`, description: SECRET, body: SECRET, tagList: [SECRET] };
    const withdrawn = await server.publish(anna, secret);
    const path = `/api/articles/${withdrawn.slug}`;
    await server.request("POST", `${path}/favorite`, { token: bert.token });
    const body = { comment: { body: SECRET } };
    const { comment } = (await server.request("POST", `${path}/comments`, { token: bert.token, body })).json;
    await put(withdrawn.slug, { status: "draft" });
    const draft = await begin(secret);
    const scheduled = await begin({ ...secret, status: "scheduled", publishAt: inMinutes(60) });
    return [withdrawn, draft, scheduled].map(({ slug }) => ({ slug, commentId: comment.id }));
  }

  const readers = (): Record<string, { options: RequestOptions; browser: ReturnType<typeof testBrowser> }> => ({
    anonymous: { options: {}, browser: testBrowser(server) },
    stranger: { options: { token: bert.token }, browser: testBrowser(server) },
  });

  test("no route with its slug responds otherwise than for no article", async () => {
    const hidden = await hide();
    const { stranger, anonymous } = readers();
    await stranger?.browser.signIn(bert);
    const withSlug = routes().filter((route) => route.includes(":slug"));
    expect(withSlug.length).toBeGreaterThan(12);
    for (const route of withSlug) {
      const [method = "", pattern = ""] = route.split(" ");
      for (const reader of [stranger, anonymous]) {
        const send = async (slug: string, commentId: number) => {
          const path = pattern.replace(":slug", slug).replace(":id", String(commentId));
          // By its author's ETag, too.
          const etag = (await read(slug, anna)).headers.get("etag") ?? "none";
          const headers = { "If-None-Match": etag };
          if (path.startsWith("/api/")) {
            const options = { ...reader?.options, headers, body: BODIES[route] };
            const { status, text } = await server.request(method, path, options);
            return { status, text: text.replaceAll(slug, "SLUG") };
          }
          const fields = { title: "t", description: "d", body: "b", publish: "1" };
          const response = await (method === "GET"
            ? reader?.browser.get(path, headers)
            : reader?.browser.submit(path, fields, headers));
          const { status, text = "", location } = response ?? {};
          return { status, text: text.replaceAll(slug, "SLUG"), location: location?.replaceAll(slug, "SLUG") };
        };
        const none = await send("no-such-article", 1);
        for (const { slug, commentId } of hidden) {
          expect({ route, ...(await send(slug, commentId)) }).toEqual({ route, ...none });
        }
        if (reader === stranger && pattern.startsWith("/api/")) expect([route, none.status]).toEqual([route, 404]);
      }
    }
    // Nothing of that has changed them.
    for (const { slug } of hidden) expect((await read(slug, anna)).json.article.body).toBe(SECRET);
    expect((await server.sql`select count(*)::integer as n from comments where body = ${SECRET}`)[0].n).toBe(1);
  });

  test("no other route responds otherwise than before it existed", async () => {
    const { stranger, anonymous } = readers();
    await stranger?.browser.signIn(bert);
    await server.request("POST", "/api/profiles/anna/follow", { token: bert.token });
    // Of what was left by tests before.
    await server.sql`delete from articles where title = ${`The ${SECRET}`}`;
    const paths = routes()
      .filter((route) => route.startsWith("GET ") && !/:(slug|id|file)|mail|sessions/.test(route))
      .map((route) => route.slice(4).replace(":username", "anna").replace(":tag", SECRET));
    expect(paths).toEqual(expect.arrayContaining(["/api/articles", "/api/articles/feed", "/api/tags", "/api/search"]));
    const readAll = async () => {
      const responses: Record<string, string> = {};
      for (const path of paths) {
        for (const query of QUERIES) {
          for (const [name, reader] of Object.entries({ stranger, anonymous })) {
            const { status, text } = path.startsWith("/api/")
              ? await server.request("GET", path + query, reader?.options)
              : ((await reader?.browser.get(path + query, { Accept: BROWSER_ACCEPT })) ?? { status: 0, text: "" });
            // The key of a form is random.
            const stable = text.replace(/name="formKey" value="[0-9a-f-]+"/, "");
            responses[`${name} ${path}${query}`] = `${status} ${stable}`;
          }
        }
      }
      return responses;
    };
    const before = await readAll();
    await hide();
    expect(await readAll()).toEqual(before);
  });

  test("memory never holds it, whoever asks first, and however many at a time", async () => {
    const { slug } = await begin();
    for (const path of [`/api/articles/${slug}`, `/api/articles/${slug}/comments`]) {
      for (let round = 0; round < 5; round++) {
        const users = [anna, bert, undefined, anna, bert, undefined];
        const statuses = await Promise.all(
          users.map(async (user) => (await server.request("GET", path, { token: user?.token })).status),
        );
        expect(statuses).toEqual([200, 404, 404, 200, 404, 404]);
      }
    }
  });
});

test("a deleted account takes its drafts with it", async () => {
  const [gone] = (await addUsers(server, anna, ["gone"])) as [TestUser];
  await begin({ title: "Left behind" }, gone);
  await server.sql`delete from users where username = 'gone'`;
  const [{ n }] = await server.sql`select count(*)::integer as n from articles where title = 'Left behind'`;
  expect(n).toBe(0);
});
