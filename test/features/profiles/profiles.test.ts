import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

let server: TestServer;
let anna: TestUser;
let bert: TestUser;
let cleo: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  [bert, cleo] = (await addUsers(server, anna, ["bert", "Cléo D."])) as [TestUser, TestUser];
});
afterAll(() => server.stop());

const path = (user: TestUser | string) =>
  `/api/profiles/${encodeURIComponent(typeof user === "string" ? user : user.username)}`;
const profile = async (of: TestUser | string, viewer?: TestUser) =>
  (await server.request("GET", path(of), { token: viewer?.token })).json.profile;
const follow = (of: TestUser | string, by: TestUser) =>
  server.request("POST", `${path(of)}/follow`, { token: by.token });
const unfollow = (of: TestUser | string, by: TestUser) =>
  server.request("DELETE", `${path(of)}/follow`, { token: by.token });
const followsOf = async (user: TestUser) =>
  (
    await server.sql`select count(*)::integer as n from follows f join users u on u.id = f.follower_id
                     where u.username = ${user.username}`
  )[0].n;

describe("GET /api/profiles/:username", () => {
  test("responds with the profile and nothing else of the account", async () => {
    const { status, json } = await server.request("GET", path(cleo));
    expect(status).toBe(200);
    expect<unknown>(json).toEqual({ profile: { username: "Cléo D.", bio: null, image: null, following: false } });
  });

  test("finds a username in any case and Unicode form", async () => {
    for (const form of ["CLÉO D.", "cle\u0301o d.", "Ｃléo D."]) expect((await profile(form)).username).toBe("Cléo D.");
  });

  test("responds with 404 for an unknown username", async () => {
    const { status, json } = await server.request("GET", path("nobody"));
    expect([status, json.errors]).toEqual([404, { profile: ["not found"] }]);
  });
});

describe("following", () => {
  test("is visible to the follower only", async () => {
    const { status, json } = await follow(cleo, anna);
    expect(status).toBe(200);
    expect(json.profile).toEqual({ username: "Cléo D.", bio: null, image: null, following: true });
    expect((await profile(cleo, anna)).following).toBe(true);
    expect((await profile(cleo, bert)).following).toBe(false);
    expect((await profile(cleo, cleo)).following).toBe(false);
    expect((await profile(cleo)).following).toBe(false);
    // Following has a direction.
    expect((await profile(anna, cleo)).following).toBe(false);
  });

  test("twice is following once, and unfollowing twice is unfollowing once", async () => {
    for (let i = 0; i < 2; i++) {
      const { status, json } = await follow(bert, cleo);
      expect([status, json.profile.following]).toEqual([200, true]);
    }
    expect(await followsOf(cleo)).toBe(1);
    for (let i = 0; i < 2; i++) {
      const { status, json } = await unfollow(bert, cleo);
      expect([status, json.profile.following]).toEqual([200, false]);
    }
    expect(await followsOf(cleo)).toBe(0);
    expect((await profile(bert, cleo)).following).toBe(false);
  });

  test("oneself is rejected, in any spelling of the name", async () => {
    for (const name of ["anna", "ANNA"]) {
      const { status, json } = await follow(name, anna);
      expect([status, json.errors]).toEqual([422, { profile: ["can't follow yourself"] }]);
    }
    expect((await profile(anna, anna)).following).toBe(false);
    // Unfollowing oneself changes nothing and is no error.
    expect((await unfollow(anna, anna)).json.profile.following).toBe(false);
  });

  test("an unknown username is 404", async () => {
    for (const response of [await follow("nobody", anna), await unfollow("nobody", anna)]) {
      expect([response.status, response.json.errors]).toEqual([404, { profile: ["not found"] }]);
    }
  });

  test("accepts no body, an empty body and {}", async () => {
    for (const body of [undefined, "", {}]) {
      expect((await server.request("POST", `${path(bert)}/follow`, { token: anna.token, body })).status).toBe(200);
      expect((await server.request("DELETE", `${path(bert)}/follow`, { token: anna.token, body })).status).toBe(200);
    }
  });

  test("ends when either account is deleted", async () => {
    const [dora, emil] = (await addUsers(server, anna, ["dora", "emil"])) as [TestUser, TestUser];
    await follow(dora, bert);
    await follow(bert, emil);
    await server.sql`delete from users where username in ('dora', 'emil')`;
    expect((await server.sql`select count(*)::integer as n from follows`)[0].n).toBe(1);
  });
});
