import { expect, test } from "bun:test";
import { testServer } from "../support/harness.ts";
import { addUsers } from "../support/people.ts";
import { expectExact } from "../support/recounts.ts";

const TIMES = 15;

test("of writes that arrive together, each gets its own response", async () => {
  const server = await testServer();
  const anna = await server.register("anna");
  const [bert, gone] = await addUsers(server, anna, ["bert", "gone"]);
  const { slug } = await server.publish(anna);
  // As another server would, of which this one has not heard.
  await server.sql`update sessions set revoked_at = now(), revoked_for = 'others'
                    where user_id = (select id from users where username = 'gone')`;
  const article = { title: "Together", description: "d", body: "b", tagList: ["together"] };
  const comment = { comment: { body: "c" } };
  const writes = [
    { path: `/api/articles/${slug}/favorite`, missing: "/api/articles/none/favorite", status: 200 },
    { path: `/api/articles/${slug}/comments`, missing: "/api/articles/none/comments", body: comment, status: 201 },
    { path: "/api/profiles/anna/follow", missing: "/api/profiles/none/follow", status: 200 },
    { path: "/api/articles", body: { article }, status: 201 },
  ];
  const expected: [string, number][] = [];
  const responses: Promise<[string, number]>[] = [];
  const send = (what: string, status: number, path: string, token = "", body?: unknown) => {
    expected.push([what, status]);
    responses.push(server.request("POST", path, { token, body }).then((response) => [what, response.status]));
  };
  for (let i = 0; i < TIMES; i++) {
    for (const { path, missing, body, status } of writes) {
      send(`${path} by bert`, status, path, bert?.token, body);
      send(`${path} in a session that has ended`, 401, path, gone?.token, body);
      if (missing !== undefined) send(missing, 404, missing, bert?.token, body);
    }
    send("a follow of oneself", 422, "/api/profiles/bert/follow", bert?.token);
  }
  expect(await Promise.all(responses)).toEqual(expected);
  const { json } = await server.request("GET", `/api/articles/${slug}`);
  expect(json.article.favoritesCount).toBe(1);
  const [rows] = await server.sql`
    select (select count(*)::integer from articles) as articles, (select count(*)::integer from comments) as comments,
           (select count(*)::integer from follows) as follows`;
  expect(rows).toEqual({ articles: 1 + TIMES, comments: TIMES, follows: 1 });
  await expectExact(server);
});
