import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openBlocklist } from "../../../../src/features/identity/users/new-passwords.ts";
import { type TestServer, testServer } from "../../../support/harness.ts";
import { identityRequests, linkTo, PASSWORD_CHANGED_SUBJECT, RESET_SUBJECT } from "../../../support/identity.ts";
import { startSending, type TestSmtp, testSmtp } from "../../../support/mail.ts";

let server: TestServer;
let api: ReturnType<typeof identityRequests>;
let smtp: TestSmtp;
let worker: { stop(): Promise<void> };
beforeAll(async () => {
  smtp = await testSmtp();
  server = await testServer();
  api = identityRequests(server);
  worker = await startSending(server, smtp);
});
afterAll(async () => {
  await worker.stop();
  await smtp.stop();
});

const KNOWN = ["must not be your username or email address"];

describe("a new password", () => {
  for (const password of [
    "Catherine",
    "cATHERINE",
    "cathy.earnshaw",
    "Cathy.Earnshaw+moor@example.com",
    "cathy.earnshaw+moor",
  ]) {
    test(`is not the username, the address or its local part, in any case: ${password}`, async () => {
      const user = { username: "Catherine", email: "cathy.earnshaw+moor@Example.com", password };
      const { status, json } = await server.request("POST", "/api/users", { body: { user } });
      expect([status, json.errors]).toEqual([422, { password: KNOWN }]);
    });
  }

  test("is not one of them in a change either, nor those of the same change", async () => {
    const user = await server.register("heathcliff");
    for (const changes of [
      { password: "HeathCliff" },
      { password: user.email },
      { password: "lockwood1", username: "lockwood1" },
      { password: "ellen.dean", email: "ellen.dean@example.com" },
    ]) {
      const { status, json } = await api.update(user, changes);
      expect([changes, status, json.errors]).toEqual([changes, 422, { password: KNOWN }]);
    }
    expect((await api.login(user.email, user.password)).status).toBe(200);
  });

  test("is not one of them in a reset either, by request or by form; the link stays unused", async () => {
    const user = await server.register("isabella");
    await api.forgot(user.email);
    const { token } = await linkTo(smtp, user.email, RESET_SUBJECT);
    const refused = await api.reset(token, "isabella");
    expect([refused.status, refused.json.errors]).toEqual([422, { new_password: KNOWN }]);
    const page = await api.submit("/reset-password", { token, new_password: user.email });
    expect([page.status, page.text]).toEqual([
      422,
      expect.stringContaining("must not be your username or email address"),
    ]);
    expect((await api.reset(token, "a linton horse")).status).toBe(200);
    await smtp.take(user.email, PASSWORD_CHANGED_SUBJECT);
  });

  test("has a visible character", async () => {
    for (const password of [" ".repeat(8), "\u200b".repeat(8), "\u3164\u00a0".repeat(4)]) {
      const user = { username: "blank", email: "blank@example.com", password };
      const { status, json } = await server.request("POST", "/api/users", { body: { user } });
      expect([status, json.errors]).toEqual([422, { password: ["can't be blank"] }]);
    }
  });

  test("is not a common one with PASSWORD_BLOCKLIST, and may be without", async () => {
    const strict = await testServer({ passwordBlocklist: await openBlocklist(true) });
    const register = (on: TestServer, password: string) =>
      on.request("POST", "/api/users", {
        body: { user: { username: "common", email: "common@example.com", password } },
      });
    for (const password of ["password123", "Password123", "ｐassword１２３", "iloveyou1", "1234567890"]) {
      const { status, json } = await register(strict, password);
      expect([password, status, json.errors]).toEqual([
        password,
        422,
        { password: ["is one of the most common passwords, which attackers try first"] },
      ]);
    }
    expect((await register(strict, "four uncommon horses")).status).toBe(201);
    expect((await register(server, "password123")).status).toBe(201);
    expect(await openBlocklist(false)).toBeNull();
  });
});

describe("with REQUIRE_CURRENT_PASSWORD", () => {
  let strict: TestServer;
  let strictly: ReturnType<typeof identityRequests>;
  beforeAll(async () => {
    strict = await testServer({ requireCurrentPassword: true });
    strictly = identityRequests(strict);
  });

  test("a new password or address needs the current password", async () => {
    const user = await strict.register("careful");
    for (const change of [{ password: "another horse" }, { email: "new@example.com" }]) {
      const missing = await strictly.update(user, change);
      expect([missing.status, missing.json.errors]).toEqual([422, { currentPassword: ["can't be blank"] }]);
      const wrong = await strictly.update(user, { ...change, currentPassword: "wrong horse" });
      expect([wrong.status, wrong.json.errors]).toEqual([422, { currentPassword: ["is wrong"] }]);
    }
    const { email, password } = user;
    expect((await strictly.login(email, password)).status).toBe(200);
    const changes = { email: "new@example.com", password: "another horse", currentPassword: password };
    expect((await strictly.update(user, changes)).json.user.email).toBe("new@example.com");
    expect((await strictly.login("new@example.com", "another horse")).status).toBe(200);
  });

  test("anything else does not, also next to an unchanged address", async () => {
    const user = await strict.register("casual");
    expect((await strictly.update(user, { bio: "b", email: user.email.toUpperCase() })).status).toBe(200);
    const only = await strictly.update(user, { currentPassword: user.password });
    expect(only.status).toBe(422);
  });

  test("ten wrong ones are too many for a session, and stop no other session", async () => {
    const user = await strict.register("guessed");
    const elsewhere = (await strictly.login(user.email, user.password)).json.access_token;
    const guess = () => strictly.update(user, { password: "a thief's horse", currentPassword: "wrong horse" });
    const statuses: number[] = [];
    for (let i = 0; i < 11; i++) {
      await strict.sql`delete from rate_limits where key like 'change:%' or key like 'mail:%'`;
      statuses.push((await guess()).status);
    }
    expect(statuses).toEqual([...Array(10).fill(422), 429]);
    await strict.sql`delete from rate_limits where key like 'change:%' or key like 'mail:%'`;
    const changes = { password: "the owner's horse", currentPassword: user.password };
    expect((await strictly.update(user, changes)).status).toBe(429);
    expect((await strictly.update({ ...user, token: elsewhere }, changes)).status).toBe(200);
  });
});

test("without REQUIRE_CURRENT_PASSWORD the current password is not needed", async () => {
  const user = await server.register("contract");
  expect((await api.update(user, { password: "another horse" })).status).toBe(200);
});
