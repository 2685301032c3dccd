import { beforeAll, describe, expect, test } from "bun:test";
import { servedRoutes } from "../../../../src/http/openapi.ts";
import { type TestServer, type TestUser, testApp, testServer } from "../../../support/harness.ts";

// The session is ended in the table, and this server never hears of it: its connection for notifications is late.

let server: TestServer;
let author: TestUser;
let user: TestUser;
let slug: string;
let commentId: number;
beforeAll(async () => {
  server = await testServer();
  author = await server.register("author");
  user = await server.register("user");
  ({ slug } = await server.publish(user, { title: "Of the user" }));
  const body = { comment: { body: "Of the user" } };
  commentId = (await server.request("POST", `/api/articles/${slug}/comments`, { token: user.token, body })).json.comment
    .id;
  await server.request("PUT", `/api/articles/${slug}`, { token: user.token, body: { article: { body: "Edited" } } });
  await server.sql`update sessions set revoked_at = now(), revoked_for = 'reset'
                    where user_id = (select id from users where username = 'user')`;
});

const BODIES: Record<string, object> = {
  "PUT /api/user": { user: { email: "thief@example.com", password: "a thief's horse" } },
  "POST /api/articles": { article: { title: "By a thief", description: "d", body: "b" } },
  "PUT /api/articles/:slug": { article: { body: "by a thief" } },
  "POST /api/articles/:slug/comments": { comment: { body: "by a thief" } },
};

/** Routes that write and take no access token: they prove something else, such as a password or a link in an email. */
const WITHOUT_TOKEN = [
  "POST /api/users",
  "POST /api/users/login",
  "POST /api/auth/refresh",
  "POST /api/auth/logout",
  "POST /api/auth/verify-email",
  "POST /api/auth/forgot-password",
  "POST /api/auth/reset-password",
  "POST /api/auth/undo-email-change",
];

/**
 * Every other route of the API that writes: a new one must refuse the token, or be added to the list above. Pages take no
 * token, and call the same query functions.
 */
const writes = (): string[] =>
  servedRoutes(testApp(server.db).routes).filter(
    (route) => /^(?!GET )\w+ \/api\//.test(route) && !WITHOUT_TOKEN.includes(route),
  );

/** Everything that a write could change. */
async function state(): Promise<string> {
  const [row] = await server.sql`
    select (select json_agg(u order by id) from users u) as users,
           (select json_agg(a order by id) from articles a) as articles,
           (select json_agg(r order by number) from article_revisions r) as revisions,
           (select json_agg(c order by id) from comments c) as comments,
           (select json_agg(f) from favorites f) as favorites,
           (select json_agg(f) from follows f) as follows,
           (select json_agg(l order by id) from email_links l) as links,
           (select json_agg(s order by id) from sessions s) as sessions,
           (select json_agg(j order by id) from graphile_worker._private_jobs j) as mails`;
  return JSON.stringify(row);
}

describe("a token whose session has ended elsewhere", () => {
  test("still reads, as this server does not know yet", async () => {
    expect((await server.request("GET", "/api/user", { token: user.token })).status).toBe(200);
  });

  test("writes nothing, on any route", async () => {
    const [session] = await server.sql`select id from sessions where revoked_at is null limit 1`;
    const before = await state();
    const all = writes();
    expect(all.length).toBeGreaterThanOrEqual(13);
    for (const route of all) {
      const [method = "", pattern = ""] = route.split(" ");
      const path = pattern
        .replace(":slug", slug)
        .replace(":number", "1")
        .replace(":username", author.username)
        .replace(":id", pattern.includes("comments") ? String(commentId) : session.id);
      const { status, json } = await server.request(method, path, { token: user.token, body: BODIES[route] });
      expect([route, status, json?.errors]).toEqual([route, 401, { token: ["belongs to a session that has ended"] }]);
    }
    expect(await state()).toBe(before);
  });

  test("writes nothing for another user either: the session must be the user's", async () => {
    const other = await server.register("other");
    const [{ id }] = (await server.sql`select id from users where username = 'user'`) as [{ id: string }];
    await server.sql`update sessions set user_id = ${id}
                      where user_id = (select id from users where username = 'other')`;
    const { status } = await server.request("POST", `/api/articles/${slug}/favorite`, { token: other.token });
    expect(status).toBe(401);
  });
});
