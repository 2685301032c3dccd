import { beforeAll, describe, expect, test } from "bun:test";
import { createTokens } from "../../src/features/identity/tokens.ts";
import { type PageResponse, type TestBrowser, testBrowser } from "../support/browser.ts";
import { JWT_SECRET, type TestServer, type TestUser, testServer } from "../support/harness.ts";

const COOKIE = "conduit_session";
const tokens = createTokens(JWT_SECRET, 60);
let server: TestServer;
let users = 0;
beforeAll(async () => {
  server = await testServer();
});

const newUser = (): Promise<TestUser> => server.register(`visitor-${++users}`);

async function signedIn(): Promise<{ user: TestUser; browser: TestBrowser }> {
  const user = await newUser();
  const browser = testBrowser(server);
  await browser.signIn(user);
  return { user, browser };
}

/** The user whom the navigation of a page shows. */
const shown = ({ text }: PageResponse): string | undefined => /class="nav-name">([^<]+)</.exec(text)?.[1];

const setCookie = ({ headers }: PageResponse): string => headers.getSetCookie().join("\n");

describe("the cookie of a browser session", () => {
  test("is out of reach for scripts and for forms of other sites, and lasts as long as the session", async () => {
    const { email, password } = await newUser();
    const response = await testBrowser(server).submit("/login", { email, password });
    expect(setCookie(response)).toMatch(
      /^conduit_session=[\w.-]+~[\w-]{64}; Max-Age=2592000; Path=\/; HttpOnly; SameSite=Lax$/,
    );
  });

  test("goes over TLS only if the server is behind TLS, and then no other host can set it", async () => {
    const { email, password } = await newUser();
    const tls = await testServer({ address: server.address, baseUrl: "https://conduit.example" });
    const browser = testBrowser(tls);
    expect(setCookie(await browser.submit("/login", { email, password }))).toMatch(
      /^__Host-conduit_session=.*; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    );
    expect(shown(await browser.get("/"))).toBeDefined();
    // A cookie without the prefix may come from another host of the domain.
    const planted = testBrowser(tls);
    planted.setCookie(COOKIE, browser.cookie().split("=")[1] ?? "");
    expect(shown(await planted.get("/"))).toBeUndefined();
    const behindProxy = testBrowser(server);
    const forwarded = { "X-Forwarded-Proto": "https" };
    expect(setCookie(await behindProxy.submit("/login", { email, password }, forwarded))).toContain("; Secure;");
  });

  test("stays below the path of BASE_URL", async () => {
    const { email, password } = await newUser();
    const below = await testServer({ address: server.address, baseUrl: "https://example.com/conduit" });
    const response = await testBrowser(below).submit("/login", { email, password });
    expect(setCookie(response)).toMatch(/^conduit_session=.*; Path=\/conduit; HttpOnly; Secure; SameSite=Lax$/);
    expect(response.location).toBe("/conduit/");
  });

  test("is no credential for the API", async () => {
    const { user, browser } = await signedIn();
    const { slug } = await server.publish(user);
    const headers = { Cookie: browser.cookie() };
    const routes = [
      ["GET", "/api/user"],
      ["PUT", "/api/user"],
      ["GET", "/api/articles/feed"],
      ["POST", "/api/articles"],
      ["DELETE", `/api/articles/${slug}`],
      ["POST", `/api/articles/${slug}/favorite`],
      ["POST", `/api/profiles/${user.username}/follow`],
      ["GET", "/api/auth/sessions"],
      ["DELETE", "/api/auth/sessions"],
    ] as const;
    for (const [method, path] of routes) {
      expect([path, (await server.request(method, path, { headers })).status]).toEqual([path, 401]);
    }
  });

  test("that is none of ours is removed", async () => {
    for (const value of ["nonsense", "a~b", `${(await newUser()).token}~`, "~", `x~${"a".repeat(64)}`]) {
      const browser = testBrowser(server);
      browser.setCookie(COOKIE, value);
      const page = await browser.get("/");
      expect([value, page.status, shown(page)]).toEqual([value, 200, undefined]);
    }
  });
});

describe("an expired access token", () => {
  async function withExpiredToken(): Promise<{ user: TestUser; value: string }> {
    const user = await newUser();
    const { sub, sid } = tokens.verify(user.token);
    return { user, value: `${tokens.issue(sub, sid, -10)}~${user.refreshToken}` };
  }

  test("is exchanged on the way, also for a form", async () => {
    const { user, value } = await withExpiredToken();
    const browser = testBrowser(server);
    browser.setCookie(COOKIE, value);
    const page = await browser.get("/");
    expect(shown(page)).toBe(user.username);
    expect(setCookie(page)).toStartWith(`${COOKIE}=`);
    expect(setCookie(page)).not.toContain(user.refreshToken);
    // The new one works, without another exchange.
    const again = await browser.get("/");
    expect([shown(again), setCookie(again)]).toEqual([user.username, ""]);

    const other = await withExpiredToken();
    const form = testBrowser(server);
    form.setCookie(COOKIE, other.value);
    const { status, headers } = await form.submit(`/profile/${user.username}/follow`);
    expect([status, headers.getSetCookie().length]).toEqual([303, 1]);
    const followers = await server.sql`select from follows f join users u on u.id = f.follower_id
                                        where u.username = ${other.user.username}`;
    expect(followers).toHaveLength(1);
  });

  test("in two tabs at once keeps both signed in", async () => {
    const { user, value } = await withExpiredToken();
    const tabs = await Promise.all(
      [1, 2, 3].map(async () => {
        const tab = testBrowser(server);
        tab.setCookie(COOKIE, value);
        const page = await tab.get("/settings");
        return { name: shown(page), refresh: tab.cookie().split("~")[1] };
      }),
    );
    expect(tabs.map(({ name }) => name)).toEqual([user.username, user.username, user.username]);
    expect(new Set(tabs.map(({ refresh }) => refresh)).size).toBe(1);
  });

  test("whose refresh token was used long before ends the session", async () => {
    const { user, value } = await withExpiredToken();
    const browser = testBrowser(server);
    browser.setCookie(COOKIE, value);
    await browser.get("/");
    await server.sql`update sessions set rotated_at = now() - interval '1 minute'
                      where user_id = (select id from users where username = ${user.username})`;
    const thief = testBrowser(server);
    thief.setCookie(COOKIE, value);
    expect(shown(await thief.get("/"))).toBeUndefined();
    expect(thief.cookie()).toBe("");
    expect(shown(await browser.get("/"))).toBeUndefined();
  });
});

describe("a session that was ended elsewhere", () => {
  test("is gone with the next page, and its cookie is removed", async () => {
    const { user, browser } = await signedIn();
    expect(shown(await browser.get("/"))).toBe(user.username);
    await server.request("DELETE", "/api/auth/sessions", { token: user.token });
    const page = await browser.get("/");
    expect([page.status, shown(page), browser.cookie()]).toEqual([200, undefined, ""]);
  });

  test("writes nothing, even if this server has not heard of it", async () => {
    const { user, browser } = await signedIn();
    const author = await newUser();
    const { slug } = await server.publish(author);
    await browser.get(`/article/${slug}`);
    await server.sql`update sessions set revoked_at = now(), revoked_for = 'ended'
                      where user_id = (select id from users where username = ${user.username})`;
    const forms: [path: string, fields: Record<string, string>][] = [
      [`/article/${slug}/favorite`, {}],
      [`/article/${slug}/unfavorite`, {}],
      [`/article/${slug}/comments`, { body: "a comment" }],
      [`/article/${slug}/delete`, {}],
      [`/profile/${author.username}/follow`, {}],
      [`/profile/${author.username}/unfollow`, {}],
      ["/settings", { username: user.username, email: user.email, bio: "changed", image: "" }],
      ["/settings/sessions/end-others", {}],
      ["/settings/verification", {}],
    ];
    const before = browser.cookie();
    for (const [path, fields] of forms) {
      browser.setCookie(COOKIE, before.split("=")[1] ?? "");
      const { status, location } = await browser.submit(path, fields);
      const back = `/login?next=${encodeURIComponent(`/article/${slug}`)}`;
      expect([path, status, location, browser.cookie()]).toEqual([path, 303, back, ""]);
    }
    const [row] = await server.sql`
      select (select count(*) from favorites)::int as favorites, (select count(*) from comments)::int as comments,
             (select bio from users where username = ${user.username}) as bio`;
    expect(row).toEqual({ favorites: 0, comments: 0, bio: null });
  });

  test("does not cost the author a text: the editor shows it again", async () => {
    const { user, browser } = await signedIn();
    await server.sql`update sessions set revoked_at = now(), revoked_for = 'ended'
                      where user_id = (select id from users where username = ${user.username})`;
    const manuscript = { title: "Long", description: "d", body: "Hours of <work>", publish: "1" };
    const { status, text } = await browser.submit("/editor", manuscript);
    expect(status).toBe(401);
    expect(text).toContain("Hours of &lt;work&gt;");
    expect(text).toContain("You have been signed out");
  });

  test("because the account was deleted is anonymous", async () => {
    const { user, browser } = await signedIn();
    await server.sql`delete from users where username = ${user.username}`;
    const page = await browser.get("/");
    expect([page.status, shown(page), browser.cookie()]).toEqual([200, undefined, ""]);
  });
});

test("signing out ends the session for every copy of the cookie", async () => {
  const { browser } = await signedIn();
  const copy = testBrowser(server);
  copy.setCookie(COOKIE, browser.cookie().split("=")[1] ?? "");
  const { status, location } = await browser.submit("/logout");
  expect([status, location, browser.cookie()]).toEqual([303, "/", ""]);
  expect(shown(await copy.get("/"))).toBeUndefined();
});

test("a page leads an anonymous reader to the sign-in page and back", async () => {
  const user = await newUser();
  const browser = testBrowser(server);
  const { status, location } = await browser.get("/settings?x=1");
  expect([status, location]).toEqual([303, "/login?next=%2Fsettings%3Fx%3D1"]);
  const page = await browser.get(location ?? "");
  expect(page.text).toContain('name="next" value="/settings?x=1"');
  const { email, password } = user;
  expect((await browser.submit("/login", { email, password, next: "/settings?x=1" })).location).toBe("/settings?x=1");
});

test.each(["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example"])(
  "signing in does not lead to %p",
  async (next) => {
    const { email, password } = await newUser();
    const browser = testBrowser(server);
    expect((await browser.get(`/login?next=${encodeURIComponent(next)}`)).text).not.toContain("evil.example");
    expect((await browser.submit("/login", { email, password, next })).location).toBe("/");
  },
);
