import { beforeAll, describe, expect, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { writeRates } from "../../src/server/server.ts";
import { type Fields, type PageResponse, type TestBrowser, testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let users = 0;
beforeAll(async () => {
  server = await testServer();
});

async function signedIn(on = server): Promise<{ user: TestUser; browser: TestBrowser }> {
  const user = await server.register(`person-${++users}`);
  const browser = testBrowser(on);
  await browser.signIn(user);
  return { user, browser };
}

/** The problems above a form. */
function problems({ text }: PageResponse): string[] {
  const [, list = ""] = /<div class="error-messages" role="alert"><ul>(.*?)<\/ul>/s.exec(text) ?? [];
  return [...list.matchAll(/<li>(.*?)<\/li>/g)].map(([, problem = ""]) => problem);
}

/** The value of a field of a form. */
const fieldOf = ({ text }: PageResponse, name: string): string | undefined =>
  new RegExp(`<input[^>]* name="${name}"[^>]* value="([^"]*)"`).exec(text)?.[1];

describe("signing up", () => {
  test("signs in at once, and counts spaces and cases as the API does", async () => {
    const browser = testBrowser(server);
    const response = await browser.submit("/register", {
      username: " New  Person ",
      email: " New@Example.com ",
      password: "password123",
    });
    expect([response.status, response.location]).toEqual([303, "/"]);
    expect((await browser.get("/settings")).text).toContain('name="username" type="text" value="New Person"');
  });

  test("shows all problems together, with what was typed, except the password", async () => {
    await server.register("taken");
    const page = await testBrowser(server).submit("/register", {
      username: "Taken",
      email: "taken@example.com",
      password: "correct horse",
    });
    expect([page.status, problems(page)]).toEqual([
      409,
      ["The username has already been taken.", "The email address has already been taken."],
    ]);
    expect([fieldOf(page, "username"), fieldOf(page, "email"), fieldOf(page, "password")]).toEqual([
      "Taken",
      "taken@example.com",
      undefined,
    ]);
    expect(page.text).not.toContain("correct horse");
    const empty = await testBrowser(server).submit("/register", {});
    expect(problems(empty)).toHaveLength(3);
    expect(empty.headers.get("Cache-Control")).toBe("no-store");
  });
});

describe("signing in", () => {
  test("does not reveal whether the address or the password is wrong", async () => {
    const { user } = await signedIn();
    const pages = [
      await testBrowser(server).submit("/login", { email: user.email, password: "wrong" }),
      await testBrowser(server).submit("/login", { email: "unknown@example.com", password: "wrong" }),
    ];
    for (const page of pages) {
      expect([page.status, problems(page)]).toEqual([422, ["The email address or the password is wrong."]]);
      expect(page.headers.getSetCookie()).toEqual([]);
    }
  });

  test("is limited as in the API, and says so above the form", async () => {
    const { user } = await signedIn();
    const stranger = testBrowser(server);
    let page: PageResponse | undefined;
    // Attempts from a network that the account knows are counted too.
    for (let i = 0; i < 11; i++) page = await stranger.submit("/login", { email: user.email, password: "wrong" });
    expect(problems(page as PageResponse)).toEqual([expect.stringMatching(/^Requests are too many, try again in /)]);
  });
});

describe("the editor", () => {
  const MANUSCRIPT = { title: "A title", description: "About it", body: "Line one\r\n\r\nLine *two*" };

  test("publishes, with the tags that were added and the one that was only typed", async () => {
    const { user, browser } = await signedIn();
    const fields: Fields = [
      ...Object.entries({ ...MANUSCRIPT, tag: "third, fourth", publish: "1" }),
      ["tagList", "first"],
      ["tagList", "second"],
    ];
    const { status, location } = await browser.submit("/editor", fields);
    expect([status, location]).toEqual([303, "/article/a-title"]);
    const { article } = (await server.request("GET", "/api/articles/a-title")).json;
    expect(article.tagList).toEqual(["first", "second", "third", "fourth"]);
    expect(article.body).toBe("Line one\n\nLine *two*");
    expect(article.author.username).toBe(user.username);
    const page = await browser.get(location ?? "");
    expect(page.text).toContain("<p>Line one</p>\n<p>Line <em>two</em></p>");
  });

  test("gives the form back when a tag is added or removed, and publishes nothing", async () => {
    const { user, browser } = await signedIn();
    const added = await browser.submit("/editor", [
      ...Object.entries({ ...MANUSCRIPT, tag: "tea" }),
      ["tagList", "milk"],
    ]);
    const tags = (page: PageResponse) =>
      [...page.text.matchAll(/name="tagList" value="([^"]*)"/g)].map(([, tag = ""]) => tag);
    expect([added.status, tags(added)]).toEqual([200, ["milk", "tea"]]);
    expect([fieldOf(added, "title"), fieldOf(added, "description"), fieldOf(added, "tag")]).toEqual([
      "A title",
      "About it",
      undefined,
    ]);
    expect(added.text).toContain("Line one\n\nLine *two*</textarea>");
    const removed = await browser.submit("/editor", [
      ...Object.entries({ ...MANUSCRIPT, without: "milk" }),
      ["tagList", "milk"],
      ["tagList", "tea"],
    ]);
    expect(tags(removed)).toEqual(["tea"]);
    expect((await server.request("GET", `/api/articles?author=${user.username}`)).json.articlesCount).toBe(0);
  });

  test("shows a preview, safe and beside the text", async () => {
    const { browser } = await signedIn();
    const body = "# Big\n\n<script>alert(1)</script>\n\n**bold**";
    const page = await browser.submit("/editor", { ...MANUSCRIPT, body, preview: "1" });
    expect([page.status, page.headers.get("Cache-Control")]).toEqual([200, "no-store"]);
    const [, preview = ""] = /id="preview"(.*)<\/section>/s.exec(page.text) ?? [];
    expect(preview).toContain("<h2>Big</h2>");
    expect(preview).toContain("<strong>bold</strong>");
    expect(preview).not.toContain("script");
    expect(page.text).toContain("# Big\n\n&lt;script&gt;");
  });

  test("changes an article, and can remove all of its tags", async () => {
    const { user, browser } = await signedIn();
    const { slug } = await server.publish(user, { title: "Before", tagList: ["x", "y"] });
    const form = await browser.get(`/editor/${slug}`);
    expect([fieldOf(form, "title"), fieldOf(form, "tagList")]).toEqual(["Before", "x"]);
    const changed = { ...MANUSCRIPT, title: "After", publish: "1" };
    const { location } = await browser.submit(`/editor/${slug}`, changed);
    expect(location).toBe("/article/after");
    expect((await server.request("GET", "/api/articles/after")).json.article.tagList).toEqual([]);
  });

  test("is the author's alone", async () => {
    const { slug } = await server.publish((await signedIn()).user);
    const { browser } = await signedIn();
    expect((await browser.get(`/editor/${slug}`)).status).toBe(403);
    expect((await browser.submit(`/editor/${slug}`, { ...MANUSCRIPT, publish: "1" })).status).toBe(403);
    expect((await browser.submit(`/article/${slug}/delete`)).status).toBe(403);
    expect((await browser.get(`/article/${slug}`)).text).not.toMatch(/Edit Article|Delete Article/);
  });

  test("keeps the text when something is wrong with it", async () => {
    const { browser } = await signedIn();
    const page = await browser.submit("/editor", { ...MANUSCRIPT, title: "x".repeat(256), body: "", publish: "1" });
    expect(page.status).toBe(422);
    expect(problems(page)).toEqual([
      "The title is too long (maximum is 255 characters).",
      "The text can&#39;t be blank.",
    ]);
    expect(fieldOf(page, "description")).toBe("About it");
  });

  test("reads at most 256 KiB of somebody who is not signed in", async () => {
    const browser = testBrowser(server);
    const text = { ...MANUSCRIPT, body: "x".repeat(200_000), publish: "1" };
    expect((await browser.submit("/editor", text)).status).toBe(401);
    expect((await browser.submit("/editor", { ...text, body: "x".repeat(300_000) })).status).toBe(413);
  });

  test("keeps line breaks at the start of a text", async () => {
    const { user, browser } = await signedIn();
    const { slug } = await server.publish(user, { body: "\n\n    code" });
    // A browser drops the first one.
    expect((await browser.get(`/editor/${slug}`)).text).toMatch(/<textarea [^>]*>\n\n\n {4}code<\/textarea>/);
  });
});

describe("comments", () => {
  test("are added and deleted, by their authors and the author of the article", async () => {
    const [author, reader, other] = [await signedIn(), await signedIn(), await signedIn()];
    const { slug } = await server.publish(author.user);
    const path = `/article/${slug}`;
    expect((await reader.browser.submit(`${path}/comments`, { body: "One\r\ntwo" })).location).toBe(path);
    const [comment] = (await server.request("GET", `/api/articles/${slug}/comments`)).json.comments;
    expect(comment?.body).toBe("One\ntwo");
    const deletion = `${path}/comments/${comment?.id}/delete`;
    expect((await other.browser.get(path)).text).not.toContain(deletion);
    expect((await other.browser.submit(deletion)).status).toBe(403);
    for (const { browser } of [author, reader]) expect((await browser.get(path)).text).toContain(deletion);
    expect((await reader.browser.submit(deletion)).location).toBe(path);
    expect((await server.request("GET", `/api/articles/${slug}/comments`)).json.comments).toEqual([]);
  });

  test("that are not accepted are in the form again", async () => {
    const { user, browser } = await signedIn();
    const { slug } = await server.publish(user);
    const page = await browser.submit(`/article/${slug}/comments`, { body: "x".repeat(10_001) });
    expect([page.status, problems(page)]).toEqual([422, ["The text is too long (maximum is 10000 characters)."]]);
    expect(page.text).toContain("x".repeat(10_001));
  });

  test("are limited as in the API, and stay in the form", async () => {
    const comments = { max: 1, windowS: 600 };
    const strict = await testServer({
      address: server.address,
      writeRates: { ...writeRates(loadConfig({})), comments },
    });
    const { user, browser } = await signedIn(strict);
    const { slug } = await server.publish(user);
    expect((await browser.submit(`/article/${slug}/comments`, { body: "one" })).status).toBe(303);
    const refused = await browser.submit(`/article/${slug}/comments`, { body: "another one" });
    expect([refused.status, problems(refused)]).toEqual([429, [expect.stringMatching(/^Requests are too many/)]]);
    expect(refused.headers.get("Retry-After")).toBeString();
    expect(refused.text).toContain("another one</textarea>");
  });

  test("continue on further pages", async () => {
    const { user, browser } = await signedIn();
    const { slug } = await server.publish(user);
    await server.sql`insert into comments (article_id, author_id, body, created_at)
      select a.id, a.author_id, 'comment number ' || n, now() - n * interval '1 minute'
        from articles a, generate_series(1, 60) n where a.slug = ${slug}`;
    const first = await browser.get(`/article/${slug}`);
    const cards = ({ text }: PageResponse) => [...text.matchAll(/comment number (\d+)</g)].map(([, n]) => Number(n));
    expect(cards(first)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    const [, older = ""] = /href="([^"]*\?comments=[^"#]*)#comments"/.exec(first.text) ?? [];
    const second = await browser.get(older);
    expect(cards(second)).toEqual(Array.from({ length: 10 }, (_, i) => i + 51));
    expect(second.text).not.toContain("Older comments");
  });
});

describe("favorites and follows", () => {
  test("lead back to the page with the form", async () => {
    const [author, { user, browser }] = [await signedIn(), await signedIn()];
    const { slug } = await server.publish(author.user, { tagList: ["led"] });
    await browser.get("/tag/led?page=1");
    expect((await browser.submit(`/article/${slug}/favorite`)).location).toBe("/tag/led?page=1");
    expect((await browser.get("/tag/led")).text).toContain(`action="/article/${slug}/unfavorite"`);
    await browser.get(`/profile/${author.user.username}`);
    expect((await browser.submit(`/profile/${author.user.username}/follow`)).location).toBe(
      `/profile/${author.user.username}`,
    );
    expect((await browser.get("/?feed=following")).text).toContain(`/article/${slug}`);
    expect((await browser.get(`/profile/${user.username}/favorites`)).text).toContain(`/article/${slug}`);
    // Only a path of this server counts.
    const referer = { Referer: `${server.url}//evil.example/` };
    expect((await browser.submit(`/article/${slug}/unfavorite`, {}, referer)).location).toBe(`/article/${slug}`);
  });

  test("of an anonymous reader begin at the sign-in page", async () => {
    const { slug } = await server.publish((await signedIn()).user);
    const browser = testBrowser(server);
    await browser.get(`/article/${slug}`);
    const { status, location } = await browser.submit(`/article/${slug}/favorite`);
    expect([status, location]).toEqual([303, `/login?next=${encodeURIComponent(`/article/${slug}`)}`]);
  });
});

describe("settings", () => {
  test("change what is different, and keep the password if its field is empty", async () => {
    const { user, browser } = await signedIn();
    const form = await browser.get("/settings");
    expect([fieldOf(form, "username"), fieldOf(form, "email"), fieldOf(form, "image")]).toEqual([
      user.username,
      user.email,
      "",
    ]);
    const { email, username } = user;
    const { location } = await browser.submit("/settings", {
      username,
      email,
      bio: "Two\r\nlines",
      image: "https://example.com/a.png",
      password: "",
    });
    expect(location).toBe(`/profile/${username}`);
    const { profile } = (await server.request("GET", `/api/profiles/${username}`)).json;
    expect([profile.bio, profile.image]).toEqual(["Two\nlines", "https://example.com/a.png"]);
    await browser.submit("/settings", { username, email, bio: "", image: "", password: "" });
    const cleared = (await server.request("GET", `/api/profiles/${username}`)).json.profile;
    expect([cleared.bio, cleared.image]).toEqual([null, null]);
    await testBrowser(server).signIn(user);
  });

  test("end all other sessions with a new password, and ask for the current one if the server is set up so", async () => {
    const strict = await testServer({ address: server.address, requireCurrentPassword: true });
    const { user, browser } = await signedIn(strict);
    const other = testBrowser(strict);
    await other.signIn(user);
    const values = { username: user.username, email: user.email, bio: "", image: "", password: "a new horse" };
    const refused = await browser.submit("/settings", { ...values, currentPassword: "wrong" });
    expect([refused.status, problems(refused)]).toEqual([422, ["The current password is wrong."]]);
    const { status } = await browser.submit("/settings", { ...values, currentPassword: user.password });
    expect(status).toBe(303);
    expect((await other.get("/settings")).status).toBe(303);
    expect((await browser.get("/settings")).status).toBe(200);
  });

  test("show the devices, and sign them out", async () => {
    const { user, browser } = await signedIn();
    const [second, third] = [testBrowser(server), testBrowser(server)];
    await second.signIn(user);
    await third.signIn(user);
    const ends = ({ text }: PageResponse) =>
      [...text.matchAll(/action="(\/settings\/sessions\/[^"]+\/end)"/g)].map(([, path = ""]) => path);
    const page = await browser.get("/settings");
    // The registration opened one, too.
    expect(ends(page)).toHaveLength(3);
    expect(page.text).toContain("This device");
    await browser.submit(ends(page)[0] ?? "");
    expect([(await third.get("/settings")).status, (await second.get("/settings")).status]).toEqual([303, 200]);
    await browser.submit("/settings/sessions/end-others");
    expect((await second.get("/settings")).status).toBe(303);
    expect(ends(await browser.get("/settings"))).toEqual([]);
  });

  test("send a new verification link", async () => {
    const { user, browser } = await signedIn();
    expect((await browser.get("/settings")).text).toContain("Use the link that was sent to");
    const { location } = await browser.submit("/settings/verification");
    expect((await browser.get(location ?? "")).text).toContain(`A new link is on its way to ${user.email}`);
    await server.sql`update users set email_verified_at = now() where username = ${user.username}`;
    expect((await browser.get("/settings")).text).not.toContain("Verify your email address");
  });
});

describe("lists", () => {
  test("have ten articles on a page, and links to the others", async () => {
    const { user } = await signedIn();
    for (let i = 0; i < 15; i++) await server.publish(user, { title: `Listed ${i}`, tagList: ["listed"] });
    const browser = testBrowser(server);
    const pages = [await browser.get("/tag/listed"), await browser.get("/tag/listed?page=2")] as const;
    const previews = ({ text }: PageResponse) => text.match(/class="article-preview"/g)?.length ?? 0;
    expect(pages.map(previews)).toEqual([10, 5]);
    expect(pages[0].text).toContain('href="/tag/listed?page=2"');
    expect(pages[1].text).toMatch(/class="page-item active"><a class="page-link" href="\/tag\/listed\?page=2"/);
    for (const page of ["0", "x", "-1", "1e9", "999999999999"]) {
      expect([page, previews(await browser.get(`/tag/listed?page=${page}`))]).toEqual([page, 10]);
    }
    expect((await browser.get("/tag/listed?page=3")).text).toContain("There is no such page.");
    expect((await browser.get("/tag/unheard-of")).text).toContain("No articles here yet.");
  });

  test("begin at / for everybody, and the feed needs a reader", async () => {
    const { browser } = await signedIn();
    const empty = await browser.get("/?feed=following");
    expect(empty.text).toContain("Your feed is empty");
    const anonymous = await testBrowser(server).get("/?feed=following");
    expect([anonymous.status, anonymous.location]).toEqual([303, "/login"]);
  });
});
