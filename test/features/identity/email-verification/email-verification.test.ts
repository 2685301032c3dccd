import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createLinkTokens } from "../../../../src/mail/links.ts";
import { JWT_SECRET, type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import {
  EMAIL_CHANGED_SUBJECT,
  identityRequests,
  linkTo,
  RESET_SUBJECT,
  VERIFY_SUBJECT,
} from "../../../support/identity.ts";
import { startSending, type TestSmtp, testSmtp } from "../../../support/mail.ts";

let server: TestServer;
/** The same database, with REQUIRE_EMAIL_CONFIRMATION. */
let strict: TestServer;
let smtp: TestSmtp;
let worker: { stop(): Promise<void> };
let api: ReturnType<typeof identityRequests>;

beforeAll(async () => {
  smtp = await testSmtp();
  server = await testServer();
  strict = await testServer({ address: server.address, requireEmailConfirmation: true });
  api = identityRequests(server);
  worker = await startSending(server, smtp);
});
afterAll(async () => {
  await worker.stop();
  await smtp.stop();
});

const verifyLink = (email: string) => linkTo(smtp, email, VERIFY_SUBJECT);
const updateStrict = (user: TestUser, changes: object) =>
  strict.request("PUT", "/api/user", { token: user.token, body: { user: changes } });
const emailOf = async (user: TestUser): Promise<string> => (await api.current(user.token)).json.user.email;

describe("verifying an email address", () => {
  test("the link in the email after registration works once", async () => {
    const user = await api.newUser();
    expect(await api.isVerified(user)).toBe(false);
    const { token } = await verifyLink(user.email);
    const answer = await api.verify(token);
    expect([answer.status, answer.json]).toMatchObject([200, { message: "Email verified successfully" }]);
    expect(await api.isVerified(user)).toBe(true);
    const again = await api.verify(token);
    expect([again.status, again.json.errors]).toEqual([410, { token: ["has already been used or has expired"] }]);
  });

  test("a program can follow the link with GET", async () => {
    const user = await api.newUser();
    const { token } = await verifyLink(user.email);
    const answer = await server.request("GET", `/api/auth/verify-email?token=${token}`);
    expect([answer.status, answer.json]).toMatchObject([200, { message: "Email verified successfully" }]);
    expect(answer.headers.get("Cache-Control")).toBe("no-store");
    expect(await api.isVerified(user)).toBe(true);
  });

  test("a missing token is 422, an unknown one 404, an expired one 410", async () => {
    expect((await server.request("GET", "/api/auth/verify-email")).status).toBe(422);
    expect((await api.post("/api/auth/verify-email", {})).status).toBe(422);
    expect((await api.verify("A".repeat(43))).status).toBe(404);
    const user = await api.newUser();
    const { token } = await verifyLink(user.email);
    await server.sql`update email_links set expires_at = now() where email = ${user.email}`;
    expect((await api.verify(token)).status).toBe(410);
    expect(await api.isVerified(user)).toBe(false);
  });

  test("of fifty requests with one link at once, exactly one succeeds", async () => {
    const user = await api.newUser();
    const { token } = await verifyLink(user.email);
    const answers = await Promise.all(Array.from({ length: 50 }, () => api.verify(token)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(49).fill(410)]);
  });

  test("a verification link does not reset a password, and a reset link verifies nothing", async () => {
    const user = await api.newUser();
    const { token } = await verifyLink(user.email);
    expect((await api.reset(token)).status).toBe(404);
    await api.forgot(user.email);
    expect((await api.verify((await linkTo(smtp, user.email, RESET_SUBJECT)).token)).status).toBe(404);
  });
});

describe("POST /api/auth/resend-verification", () => {
  test("sends a new link, which ends the previous one; 409 if the address is verified", async () => {
    const user = await api.newUser();
    const first = await verifyLink(user.email);
    expect((await api.post("/api/auth/resend-verification", undefined)).status).toBe(401);
    expect((await api.resend(user)).status).toBe(200);
    const second = await verifyLink(user.email);
    expect((await api.verify(first.token)).status).toBe(410);
    expect((await api.verify(second.token)).status).toBe(200);
    const answer = await api.resend(user);
    expect([answer.status, answer.json.errors]).toEqual([409, { email: ["is already verified"] }]);
  });

  test("several requests at once leave one working link", async () => {
    const user = await api.newUser();
    const answers = await Promise.all(Array.from({ length: 4 }, () => api.resend(user)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const tokens = await Promise.all(Array.from({ length: 5 }, async () => (await verifyLink(user.email)).token));
    const statuses: number[] = [];
    for (const token of tokens) statuses.push((await api.verify(token)).status);
    expect(statuses.sort()).toEqual([200, 410, 410, 410, 410]);
  });

  test("is 503 without a mail server", async () => {
    const mute = await testServer({ mail: { isEnabled: false, ...createLinkTokens(JWT_SECRET) } });
    const user = await mute.register("mute");
    const answer = await mute.request("POST", "/api/auth/resend-verification", { token: user.token });
    expect([answer.status, answer.json.errors, answer.headers.get("Retry-After")]).toEqual([
      503,
      { mail: ["cannot be sent: no mail server is configured"] },
      "3600",
    ]);
  });
});

describe("a new email address", () => {
  test("and a new password are possible without a mail server, and leave no link or mail behind", async () => {
    const mute = await testServer({ mail: { isEnabled: false, ...createLinkTokens(JWT_SECRET) } });
    const user = await mute.register("mute");
    const body = { user: { email: "other@example.com", password: "another horse" } };
    expect((await mute.request("PUT", "/api/user", { token: user.token, body })).status).toBe(200);
    const login = { user: { email: "other@example.com", password: "another horse" } };
    expect((await mute.request("POST", "/api/users/login", { body: login })).status).toBe(200);
    const [row] = await mute.sql`
      select (select count(*) from graphile_worker.jobs)::int as mails, (select count(*) from email_links)::int as links`;
    expect(row).toEqual({ mails: 0, links: 0 });
  });

  test("is shown at once, unverified; both addresses get a mail, and older links end", async () => {
    const user = await api.newUser();
    await api.verify((await verifyLink(user.email)).token);
    await api.forgot(user.email);
    const resetLink = await linkTo(smtp, user.email, RESET_SUBJECT);
    const email = `new-${user.email}`;
    const { json } = await api.update(user, { email });
    expect(json.user).toMatchObject({ email, email_verified: false });
    expect((await smtp.take(user.email, EMAIL_CHANGED_SUBJECT)).text).toContain(email);
    expect((await api.reset(resetLink.token)).status).toBe(410);
    expect((await api.verify((await verifyLink(email)).token)).status).toBe(200);
    expect(await api.isVerified(user)).toBe(true);
  });

  test("ends a verification link to the old address", async () => {
    const user = await api.newUser();
    const old = await verifyLink(user.email);
    const email = `moved-${user.email}`;
    await api.update(user, { email });
    expect((await api.verify(old.token)).status).toBe(410);
    expect(await emailOf(user)).toBe(email);
  });

  test("can be set several times at once: every request succeeds, and the last one's link works", async () => {
    const user = await api.newUser();
    const emails = Array.from({ length: 4 }, (_, i) => `at-once-${i}-${user.email}`);
    const answers = await Promise.all(emails.map((email) => api.update(user, { email })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await api.verify((await verifyLink(await emailOf(user))).token)).status).toBe(200);
  });

  test("that differs only in spelling stays verified", async () => {
    const user = await api.newUser();
    await api.verify((await verifyLink(user.email)).token);
    const { json } = await api.update(user, { email: user.email.toUpperCase() });
    expect(json.user.email_verified).toBe(true);
  });
});

describe("a new email address with REQUIRE_EMAIL_CONFIRMATION", () => {
  test("replaces the old one only when it is verified", async () => {
    const [user, other] = [await api.newUser(), await api.newUser()];
    await api.verify((await verifyLink(user.email)).token);
    const email = `waits-${user.email}`;
    const taken = await updateStrict(user, { email: other.email, bio: "not this" });
    expect([taken.status, taken.json.errors]).toEqual([409, { email: ["has already been taken"] }]);
    const { json } = await updateStrict(user, { email, bio: "changed" });
    expect(json.user).toMatchObject({ email: user.email, email_verified: true, bio: "changed" });
    expect((await api.login(user.email, user.password)).status).toBe(200);
    await verifyLink(email);
    // A new link goes to the address that waits.
    expect((await api.resend(user)).status).toBe(200);
    expect((await api.verify((await verifyLink(email)).token)).status).toBe(200);
    expect((await api.current(user.token)).json.user).toMatchObject({ email, email_verified: true });
    expect((await api.login(user.email, user.password)).status).toBe(401);
  });

  test("is refused at the verification if another user has taken it meanwhile", async () => {
    const user = await api.newUser();
    const email = `wanted-${user.email}`;
    await updateStrict(user, { email });
    const { token } = await verifyLink(email);
    await api.update(await api.newUser(), { email });
    const answer = await api.verify(token);
    expect([answer.status, answer.json.errors]).toEqual([409, { email: ["has already been taken"] }]);
    expect(await emailOf(user)).toBe(user.email);
  });

  test("does not replace the old one after a password reset: a thief may have requested it", async () => {
    const user = await api.newUser();
    const email = `thief-${user.email}`;
    await updateStrict(user, { email });
    const waiting = await verifyLink(email);
    await api.forgot(user.email);
    expect((await api.reset((await linkTo(smtp, user.email, RESET_SUBJECT)).token)).status).toBe(200);
    expect((await api.verify(waiting.token)).status).toBe(410);
    expect((await api.login(user.email, "a brand new horse")).status).toBe(200);
  });

  test("does not replace the old one after a new password either", async () => {
    const user = await api.newUser();
    const email = `thief-${user.email}`;
    await updateStrict(user, { email });
    const waiting = await verifyLink(email);
    expect((await updateStrict(user, { password: "another horse" })).status).toBe(200);
    expect((await api.verify(waiting.token)).status).toBe(410);
    expect(await emailOf(user)).toBe(user.email);
  });

  test("replaces the old one when both come with the new password", async () => {
    const user = await api.newUser();
    const email = `with-password-${user.email}`;
    await updateStrict(user, { email, password: "another horse" });
    expect((await api.verify((await verifyLink(email)).token)).status).toBe(200);
    expect((await api.login(email, "another horse")).status).toBe(200);
  });

  test("ends a reset link to the old address when it is verified", async () => {
    const user = await api.newUser();
    const email = `moves-${user.email}`;
    await updateStrict(user, { email });
    const waiting = await verifyLink(email);
    await api.forgot(user.email);
    const old = await linkTo(smtp, user.email, RESET_SUBJECT);
    expect((await api.verify(waiting.token)).status).toBe(200);
    expect((await server.request("GET", old.path)).status).toBe(410);
    expect((await api.reset(old.token)).status).toBe(410);
  });
});
