import { beforeAll, describe, expect, test } from "bun:test";
import { testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";
import { createWorld, perform, type World, WRITES } from "../support/reads-and-writes.ts";

// What is held in memory never becomes too old here: a page shows a write only because the write was reported.
const NEVER_MS = 3_600_000;

let server: TestServer;
/** Holds nothing in memory. */
let database: TestServer;
let registered: TestUser;
beforeAll(async () => {
  server = await testServer({ memory: { bytesMax: 64 * 1024 * 1024, ageMaxMs: NEVER_MS } });
  database = await testServer({ address: server.address, memory: { bytesMax: 0 } });
  registered = await server.register("registered");
});

/** The pages that show what everybody may read. */
const PAGES: Readonly<Record<string, (world: World) => string>> = {
  home: () => "/",
  "second page": () => "/?page=2",
  tag: ({ tag }) => `/tag/${tag}`,
  "new tag": ({ prefix }) => `/tag/${prefix}new`,
  article: ({ article }) => `/article/${article.slug}`,
  "other article": ({ other }) => `/article/${other.slug}`,
  "article by former slug": ({ prefix }) => `/article/${prefix}-before`,
  "article with new title": ({ prefix }) => `/article/${prefix}-new`,
  "profile of author": ({ author }) => `/profile/${author.username}`,
  "profile of reader": ({ reader }) => `/profile/${reader.username}`,
  "profile of new name": ({ prefix }) => `/profile/${prefix}new`,
  favorites: ({ reader }) => `/profile/${reader.username}/favorites`,
  "favorites of new name": ({ prefix }) => `/profile/${prefix}new/favorites`,
};

/** Every page as an anonymous reader gets it. */
async function readAll(on: TestServer, world: World): Promise<Record<string, string>> {
  const browser = testBrowser(on);
  const pages: Record<string, string> = {};
  for (const [name, path] of Object.entries(PAGES)) {
    const { status, headers, text } = await browser.get(path(world));
    pages[name] = `${status} ${headers.get("location") ?? ""} ${text.replaceAll(on.url, "")}`;
  }
  return pages;
}

const differences = (a: Record<string, string>, b: Record<string, string>): string[] =>
  Object.keys(PAGES).filter((name) => a[name] !== b[name]);

/** Does something, and compares every page before and after it with that of a server that holds nothing. */
async function expectShown(world: World, change: () => Promise<void>): Promise<void> {
  const before = await readAll(database, world);
  expect(differences(await readAll(server, world), before)).toEqual([]);
  const { hits } = server.memory.state();
  await readAll(server, world);
  // All but those that do not exist or redirect.
  expect(server.memory.state().hits - hits).toBeGreaterThan(Object.keys(PAGES).length - 5);
  await change();
  const after = await readAll(database, world);
  expect(differences(after, before).length).toBeGreaterThan(0);
  expect(differences(await readAll(server, world), after)).toEqual([]);
}

describe("after a write of the API, every page is as if nothing was in memory:", () => {
  // Whom a reader follows is on no page for others.
  for (const [name, write] of Object.entries(WRITES).filter(([name]) => !/follow/.test(name))) {
    test(name, async () => {
      const world = await createWorld(server, registered);
      await expectShown(world, () => perform(server, world, write));
    });
  }
});

type Form = {
  readonly route: string;
  readonly by: "author" | "reader" | "stranger";
  readonly path: (world: World) => string;
  readonly fields?: (world: World) => Record<string, string>;
};

const TEXTS = { description: "A description", body: "A body", publish: "1" };

const FORMS: Readonly<Record<string, Form>> = {
  publish: {
    route: "/editor",
    by: "author",
    path: () => "/editor",
    fields: ({ prefix, tag }) => ({ ...TEXTS, title: `${prefix} new`, tag: `${tag}, ${prefix}new` }),
  },
  edit: {
    route: "/editor/:slug",
    by: "author",
    path: ({ article }) => `/editor/${article.slug}`,
    fields: ({ prefix }) => ({ ...TEXTS, title: `${prefix} new`, tag: `${prefix}new` }),
  },
  "restore a revision": {
    route: "/editor/:slug/revisions/:number/restore",
    by: "author",
    path: ({ article }) => `/editor/${article.slug}/revisions/1/restore`,
  },
  delete: { route: "/article/:slug/delete", by: "author", path: ({ article }) => `/article/${article.slug}/delete` },
  favorite: { route: "/article/:slug/favorite", by: "reader", path: ({ other }) => `/article/${other.slug}/favorite` },
  unfavorite: {
    route: "/article/:slug/unfavorite",
    by: "reader",
    path: ({ article }) => `/article/${article.slug}/unfavorite`,
  },
  comment: {
    route: "/article/:slug/comments",
    by: "stranger",
    path: ({ article }) => `/article/${article.slug}/comments`,
    fields: () => ({ body: "Another comment" }),
  },
  "delete a comment": {
    route: "/article/:slug/comments/:id/delete",
    by: "reader",
    path: ({ article, commentId }) => `/article/${article.slug}/comments/${commentId}/delete`,
  },
  settings: {
    route: "/settings",
    by: "author",
    path: () => "/settings",
    fields: ({ prefix, author }) => ({ username: `${prefix}new`, email: author.email, bio: "A biography", image: "" }),
  },
};

describe("after a form, every page is as if nothing was in memory:", () => {
  for (const [name, { by, path, fields }] of Object.entries(FORMS)) {
    test(name, async () => {
      const world = await createWorld(server, registered);
      await expectShown(world, async () => {
        const browser = testBrowser(server);
        browser.setCookie("conduit_session", `${world[by].token}~${world[by].refreshToken}`);
        expect((await browser.submit(path(world), fields?.(world))).status).toBe(303);
      });
    });
  }
});

test("every form that changes what others can read is above", () => {
  // What these change is on no page for others: sessions, and whom somebody follows, which a test of the API covers.
  const others = ["/logout", "/login", "/register", "/settings/", "/profile/", "/verify-email", "/forgot-password"];
  const routes = testApp(server.db).routes.flatMap(({ method, path }) => (method === "POST" ? [path] : []));
  const forms = [...new Set(routes)].filter(
    (path) =>
      !path.startsWith("/api/") && !/-password$|-change$/.test(path) && !others.some((one) => path.startsWith(one)),
  );
  expect(forms.sort()).toEqual(
    Object.values(FORMS)
      .map(({ route }) => route)
      .sort(),
  );
});

test("a follow by a form is in the feed at once", async () => {
  const { reader, stranger, other } = await createWorld(server, registered);
  const feed = async () => (await server.request("GET", "/api/articles/feed", { token: reader.token })).text;
  const profile = async () => {
    const response = await server.request("GET", `/api/profiles/${stranger.username}`, { token: reader.token });
    return response.json.profile.following;
  };
  const browser = testBrowser(server);
  browser.setCookie("conduit_session", `${reader.token}~${reader.refreshToken}`);
  expect([(await feed()).includes(other.slug), await profile()]).toEqual([false, false]);
  await browser.submit(`/profile/${stranger.username}/follow`);
  expect([(await feed()).includes(other.slug), await profile()]).toEqual([true, true]);
  await browser.submit(`/profile/${stranger.username}/unfollow`);
  expect([(await feed()).includes(other.slug), await profile()]).toEqual([false, false]);
});
