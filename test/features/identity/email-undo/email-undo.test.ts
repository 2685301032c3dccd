import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import {
  EMAIL_CHANGED_SUBJECT,
  identityRequests,
  linkTo,
  RESET_SUBJECT,
  VERIFY_SUBJECT,
} from "../../../support/identity.ts";
import { startSending, type TestSmtp, testSmtp } from "../../../support/mail.ts";

let server: TestServer;
let smtp: TestSmtp;
let worker: { stop(): Promise<void> };
let api: ReturnType<typeof identityRequests>;
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

async function verifiedUser(on = api): Promise<TestUser> {
  const user = await on.newUser();
  const { token } = await linkTo(smtp, user.email, VERIFY_SUBJECT);
  expect((await on.verify(token)).status).toBe(200);
  return user;
}
const undoLink = (email: string) => linkTo(smtp, email, EMAIL_CHANGED_SUBJECT);
const undo = (token: string, new_password = "the owner's horse") =>
  api.post("/api/auth/undo-email-change", { token, new_password });
const loginStatus = async (email: string, password: string) => (await api.login(email, password)).status;

describe("the link in the mail about a changed address", () => {
  test("gives the account back to its owner: address, password, and no session of the thief", async () => {
    const user = await verifiedUser();
    // A thief with a stolen access token.
    await api.update(user, { email: "thief@example.com" });
    await api.update(user, { password: "a thief's horse" });
    const thief = (await api.login("thief@example.com", "a thief's horse")).json;
    await api.forgot("thief@example.com");
    const reset = await linkTo(smtp, "thief@example.com", RESET_SUBJECT);
    const { path, token } = await undoLink(user.email);

    const page = await server.request("GET", path);
    expect([page.status, page.text]).toEqual([200, expect.stringContaining('action="/undo-email-change"')]);
    const weak = await api.submit("/undo-email-change", { token, new_password: "short" });
    expect([weak.status, weak.text]).toEqual([422, expect.stringContaining("is too short")]);
    const done = await api.submit("/undo-email-change", { token, new_password: "the owner's horse" });
    expect([done.status, done.text]).toEqual([200, expect.stringContaining("Your email address is back")]);

    const { json } = await api.login(user.email, "the owner's horse");
    expect(json.user).toMatchObject({ username: user.username, email: user.email, email_verified: true });
    for (const stolen of [user.token, thief.access_token]) expect((await api.current(stolen)).status).toBe(401);
    expect((await api.refresh(thief.refresh_token)).status).toBe(401);
    expect((await api.reset(reset.token)).status).toBe(410);
    expect(await loginStatus("thief@example.com", "a thief's horse")).toBe(401);
    expect((await undo(token)).status).toBe(410);
    expect((await undo("x")).status).toBe(404);
  });

  test("works after further changes, and ends the links that went to the thief's addresses", async () => {
    const user = await verifiedUser();
    await api.update(user, { email: "first-theft@example.com" });
    const verify = await linkTo(smtp, "first-theft@example.com", VERIFY_SUBJECT);
    await api.verify(verify.token);
    await api.update(user, { email: "second-theft@example.com" });
    const theirs = await undoLink("first-theft@example.com");
    const { token } = await undoLink(user.email);
    expect((await undo(token)).status).toBe(200);
    expect((await undo(theirs.token, "a thief's horse")).status).toBe(410);
    expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
  });

  test("works for seven days, in which nobody else gets the address", async () => {
    const user = await verifiedUser();
    const other = await api.newUser();
    await api.update(user, { email: "squatter@example.com" });
    const { token } = await undoLink(user.email);
    const squat = { username: "squatter", email: user.email, password: "correct horse" };
    const register = () => server.request("POST", "/api/users", { body: { user: squat } });
    const refused = await register();
    expect([refused.status, refused.json.errors]).toEqual([409, { email: ["has already been taken"] }]);
    expect((await api.update(other, { email: user.email })).status).toBe(409);
    await server.sql`update email_links set expires_at = expires_at - interval '6 days 23 hours' where purpose = 'undo'`;
    expect((await register()).status).toBe(409);
    await server.sql`update email_links set expires_at = expires_at - interval '1 hour 1 second' where purpose = 'undo'`;
    expect((await undo(token)).status).toBe(410);
    expect((await register()).status).toBe(201);
  });

  test("leaves the address to its user, who may return to it", async () => {
    const user = await verifiedUser();
    await api.update(user, { email: "moved@example.com" });
    expect((await api.update(user, { email: user.email })).json.user.email).toBe(user.email);
  });

  test("is not in the mail to an address that was never confirmed, which may be a stranger's", async () => {
    const user = await api.newUser();
    await api.update(user, { email: "corrected@example.com" });
    const mail = await smtp.take(user.email, EMAIL_CHANGED_SUBJECT);
    expect(mail.text).not.toContain("token=");
    expect(mail.text).not.toContain(user.username);
    expect(mail.text).not.toContain("corrected@example.com");
    const [row] = await server.sql`
      select count(*)::int as n from email_links
       where purpose = 'undo' and user_id = (select id from users where username = ${user.username})`;
    expect(row.n).toBe(0);
  });

  test("also works before the new address is confirmed, with REQUIRE_EMAIL_CONFIRMATION", async () => {
    const strict = await testServer({ address: server.address, requireEmailConfirmation: true });
    const here = identityRequests(strict);
    const user = await verifiedUser();
    expect((await here.update(user, { email: "waiting@example.com" })).status).toBe(200);
    const verify = await linkTo(smtp, "waiting@example.com", VERIFY_SUBJECT);
    const { token } = await undoLink(user.email);
    expect((await undo(token)).status).toBe(200);
    expect((await here.verify(verify.token)).status).toBe(410);
    expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
  });
});

test("mails to an address that is not confirmed have nothing that a user wrote", async () => {
  const user = await server.register("Win-1000-at-evil.example");
  const mail = await smtp.take(user.email, VERIFY_SUBJECT);
  for (const part of [mail.subject, mail.text, mail.html || ""]) expect(part).not.toContain("evil");
  await api.forgot(user.email);
  const reset = await smtp.take(user.email, RESET_SUBJECT);
  for (const part of [reset.subject, reset.text, reset.html || ""]) expect(part).not.toContain("evil");
});
