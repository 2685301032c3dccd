import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createLinkTokens } from "../../../../src/mail/links.ts";
import { JWT_SECRET, type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import {
  EMAIL_CHANGED_SUBJECT,
  holdUser,
  identityRequests,
  linkTo,
  RESET_SUBJECT,
  VERIFY_SUBJECT,
} from "../../../support/identity.ts";
import { jobsOf } from "../../../support/jobs.ts";
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

/** The user of a session goes to an address and verifies it: a thief, whose own link would undo the next change. */
async function moveTo(user: TestUser, email: string): Promise<void> {
  expect((await api.update(user, { email })).status).toBe(200);
  expect((await api.verify((await linkTo(smtp, email, VERIFY_SUBJECT)).token)).status).toBe(200);
}
const moveBack = (user: TestUser) => api.update(user, { email: user.email });
/** Makes every link older. */
const age = (interval: string) =>
  server.sql`update email_links set created_at = created_at - ${interval}::interval,
                                    expires_at = expires_at - ${interval}::interval`;

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

  test("keeps the address from a user who was waiting for it, with REQUIRE_EMAIL_CONFIRMATION", async () => {
    const strict = await testServer({ address: server.address, requireEmailConfirmation: true });
    const waiting = await api.newUser();
    const email = `${(await api.newUser()).username}-soon@example.com`;
    await identityRequests(strict).update(waiting, { email });
    const theirs = await linkTo(smtp, email, VERIFY_SUBJECT);
    const user = await api.newUser();
    await moveTo(user, email);
    await api.update(user, { email: "gone-on@example.com" });
    expect((await api.verify(theirs.token)).status).toBe(409);
  });

  test("leaves the address to its user, who may return to it", async () => {
    const user = await verifiedUser();
    await api.update(user, { email: "moved@example.com" });
    expect((await api.update(user, { email: user.email })).json.user.email).toBe(user.email);
  });

  test("of a thief who went back to the owner's address ends with the owner's reset", async () => {
    const user = await verifiedUser();
    await moveTo(user, "there-and-back@example.com");
    // Just before the link of the owner would have expired, so that the one of the thief would outlive it.
    await age("6 days 23 hours");
    await moveBack(user);
    const theirs = await undoLink("there-and-back@example.com");
    await age("6 days");
    await api.forgot(user.email);
    expect((await api.reset((await linkTo(smtp, user.email, RESET_SUBJECT)).token)).status).toBe(200);
    expect((await undo(theirs.token, "a thief's horse")).status).toBe(410);
    expect(await loginStatus(user.email, "a brand new horse")).toBe(200);
  });

  test("of a thief who went back ends with any later link of the owner", async () => {
    const user = await verifiedUser();
    await moveTo(user, "first-loop@example.com");
    await undoLink(user.email);
    await moveBack(user);
    // The owner verifies the address again, so the next change gives them another link.
    await api.verify((await linkTo(smtp, user.email, VERIFY_SUBJECT)).token);
    await moveTo(user, "second-loop@example.com");
    const theirs = await undoLink("first-loop@example.com");
    const newest = await undoLink(user.email);
    expect((await undo(newest.token)).status).toBe(200);
    expect((await undo(theirs.token, "a thief's horse")).status).toBe(410);
    expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
  });

  test("of a thief does not end the owner's, neither by itself nor by a reset, also not at a second theft", async () => {
    const user = await verifiedUser();
    // A link to the thief's address that is older than the owner's next one, and expired.
    await moveTo(user, "returning-thief@example.com");
    await moveBack(user);
    const old = await undoLink("returning-thief@example.com");
    await undoLink(user.email);
    await api.verify((await linkTo(smtp, user.email, VERIFY_SUBJECT)).token);
    await age("14 days");
    expect((await undo(old.token, "a thief's horse")).status).toBe(410);

    await moveTo(user, "returning-thief@example.com");
    const { token } = await undoLink(user.email);
    await api.forgot("returning-thief@example.com");
    const reset = await linkTo(smtp, "returning-thief@example.com", RESET_SUBJECT);
    expect((await api.reset(reset.token, "a thief's horse")).status).toBe(200);
    const thief = (await api.login("returning-thief@example.com", "a thief's horse")).json.user.token;
    await moveTo({ ...user, token: thief }, "thief-at-last@example.com");
    const theirs = await undoLink("returning-thief@example.com");
    expect((await undo(theirs.token, "a thief's horse")).status).toBe(200);

    expect((await undo(token)).status).toBe(200);
    expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
  });

  test("lasts as long as that of the next change, and at most 30 days", async () => {
    const user = await verifiedUser();
    let { token } = user;
    for (let i = 0; i < 5; i++) {
      await moveTo({ ...user, token }, `wanderer-${i}@example.com`);
      ({ token } = (await api.login(`wanderer-${i}@example.com`, user.password)).json.user);
      await age("6 days");
      const [row] = await server.sql`
        select bool_and(expires_at <= created_at + interval '30 days') as is_bounded,
               bool_and(expires_at > now()) as is_live, count(*)::int as n
          from email_links where purpose = 'undo' and user_id = (select id from users where username = ${user.username})`;
      // After 30 days, the first has expired.
      expect([i, row]).toEqual([i, { n: i + 1, is_bounded: true, is_live: i < 4 }]);
    }
  });

  test("notifies the address that goes, which gets no link of its own", async () => {
    const user = await verifiedUser();
    await moveTo(user, "notified@example.com");
    const { token } = await undoLink(user.email);
    expect((await undo(token)).status).toBe(200);
    const mail = await smtp.take("notified@example.com", EMAIL_CHANGED_SUBJECT);
    expect(mail.text).not.toContain("token=");
    expect(mail.text).not.toContain(user.email);
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
    await api.forgot(user.email);
    const reset = await linkTo(smtp, user.email, RESET_SUBJECT);
    const { token } = await undoLink(user.email);
    expect((await undo(token)).status).toBe(200);
    expect((await here.verify(verify.token)).status).toBe(410);
    expect((await api.reset(reset.token)).status).toBe(410);
    expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
  });
});

describe("undoing a change at the same moment as", () => {
  test("another change, a new password and a reset by the thief: the owner has the account, in any order", async () => {
    for (const isFirst of [true, false]) {
      const user = await verifiedUser();
      const email = `grabbed-${isFirst}@example.com`;
      await moveTo(user, email);
      await api.forgot(email);
      const reset = await linkTo(smtp, email, RESET_SUBJECT);
      const { token } = await undoLink(user.email);
      const hold = await holdUser(server, { ...user, email });
      let done = isFirst ? undo(token) : undefined;
      if (isFirst) await hold.waiting(1);
      const theirs = [
        api.update(user, { email: `further-${isFirst}@example.com` }),
        api.update(user, { password: "a thief's horse" }),
        api.reset(reset.token, "a thief's horse"),
      ];
      await hold.waiting(isFirst ? 4 : 3);
      done ??= undo(token);
      await hold.waiting(4);
      await hold.release();
      expect((await done).status).toBe(200);
      const statuses = (await Promise.all(theirs)).map(({ status }) => status);
      if (isFirst) expect(statuses).toEqual([401, 401, 410]);
      expect(await loginStatus(user.email, "the owner's horse")).toBe(200);
      expect((await api.current(user.token)).status).toBe(401);
      for (const address of [email, `further-${isFirst}@example.com`]) {
        expect(await loginStatus(address, "a thief's horse")).toBe(401);
      }
    }
  });
});

test("without a mail server, undoing a change enqueues no email", async () => {
  const user = await verifiedUser();
  await api.update(user, { email: "mute@example.com" });
  await linkTo(smtp, "mute@example.com", VERIFY_SUBJECT);
  const { token } = await undoLink(user.email);
  const mute = await testServer({
    address: server.address,
    mail: { isEnabled: false, ...createLinkTokens(JWT_SECRET) },
  });
  await worker.stop();
  expect(
    (await identityRequests(mute).post("/api/auth/undo-email-change", { token, new_password: "the owner's horse" }))
      .status,
  ).toBe(200);
  expect(await jobsOf(server.sql, "mail")).toEqual([]);
  worker = await startSending(server, smtp);
});

test("mails to an address that is not confirmed have nothing that a user wrote", async () => {
  const user = await server.register("Win-1000-at-evil.example");
  const mail = await smtp.take(user.email, VERIFY_SUBJECT);
  for (const part of [mail.subject, mail.text, mail.html || ""]) expect(part).not.toContain("evil");
  await api.forgot(user.email);
  const reset = await smtp.take(user.email, RESET_SUBJECT);
  for (const part of [reset.subject, reset.text, reset.html || ""]) expect(part).not.toContain("evil");
});
