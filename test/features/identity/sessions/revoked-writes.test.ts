import { beforeAll, describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../../src/http/openapi.ts";
import { conduitDocument } from "../../../../src/web/docs/document.ts";
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
  await server.sql`update sessions set revoked_at = now(), revoked_for = 'reset'
                    where user_id = (select id from users where username = 'user')`;
});

const BODIES: Record<string, object> = {
  UpdateCurrentUser: { user: { email: "thief@example.com", password: "a thief's horse" } },
  CreateArticle: { article: { title: "By a thief", description: "d", body: "b" } },
  UpdateArticle: { article: { body: "by a thief" } },
  CreateArticleComment: { comment: { body: "by a thief" } },
};

/** Every route that writes and needs a token. */
function writes(): { operationId: string; method: string; path: string }[] {
  const { paths } = conduitDocument(testApp(server.db).routes);
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations as Record<string, JsonObject>)
      .filter(([method, { security }]) => method !== "get" && Array.isArray(security) && security.length === 1)
      .map(([method, operation]) => ({
        operationId: String(operation.operationId),
        method: method.toUpperCase(),
        path: path.replace("{slug}", slug).replace("{id}", path.includes("comments") ? String(commentId) : "SESSION"),
      })),
  );
}

/** Everything that a write could change. */
async function state(): Promise<string> {
  const [row] = await server.sql`
    select (select json_agg(u order by id) from users u) as users,
           (select json_agg(a order by id) from articles a) as articles,
           (select json_agg(c order by id) from comments c) as comments,
           (select json_agg(f) from favorites f) as favorites,
           (select json_agg(f) from follows f) as follows,
           (select json_agg(l order by id) from email_links l) as links,
           (select json_agg(s order by id) from sessions s) as sessions`;
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
    for (const { operationId, method, path } of all) {
      const target = path.replace("SESSION", session.id).replace("{username}", author.username);
      const { status, json } = await server.request(method, target, { token: user.token, body: BODIES[operationId] });
      expect([operationId, status, json?.errors]).toEqual([
        operationId,
        401,
        { token: ["belongs to a session that has ended"] },
      ]);
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
