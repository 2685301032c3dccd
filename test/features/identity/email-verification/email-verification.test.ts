import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createOutbox } from "../../../../src/mail/outbox.ts";
import { type Answer, JWT_SECRET, type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import { linkIn, sendMail, type TestSmtp, testSmtp } from "../../../support/mail.ts";
import { recordingLog } from "../../../support/recording.ts";

const { log, lines } = recordingLog();
let server: TestServer;
let smtp: TestSmtp;
let worker: { stop(): Promise<void> };
let users = 0;
/** Every secret that went over the line, for the scan at the end. */
const secrets: string[] = [];

beforeAll(async () => {
  smtp = await testSmtp();
  server = await testServer({ log });
  worker = sendMail(server, smtp, { log });
});
afterAll(async () => {
  await worker.stop();
  await smtp.stop();
});

async function newUser(): Promise<TestUser> {
  const user = await server.register(`account-${++users}`);
  secrets.push(user.refreshToken, user.token, user.password);
  return user;
}
async function linkTo(email: string, subject: string): Promise<{ path: string; token: string }> {
  const link = linkIn(await smtp.take(email, subject));
  secrets.push(link.token);
  return link;
}
const CONFIRM = "Confirm your address";
const RESET = "Choose a new password";

const post = (path: string, body: unknown, token?: string): Promise<Answer> =>
  server.request("POST", path, { body, token });
const verify = (token: string) => post("/api/auth/verify-email", { token });
const forgot = (email: string) => post("/api/auth/forgot-password", { email });
const reset = (token: string, new_password = "a brand new horse") =>
  post("/api/auth/reset-password", { token, new_password });
const isVerified = async (user: TestUser): Promise<boolean> =>
  (await server.request("GET", "/api/user", { token: user.token })).json.user.email_verified;
const loginStatus = async (email: string, password: string): Promise<number> =>
  (await post("/api/users/login", { user: { email, password } })).status;
const form = (path: string, fields: Record<string, string>): Promise<Answer> =>
  server.request("POST", path, {
    body: new URLSearchParams(fields).toString(),
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });

describe("confirming an address", () => {
  test("goes by the link of the mail that registering sends, once", async () => {
    const user = await newUser();
    expect(await isVerified(user)).toBe(false);
    const { token } = await linkTo(user.email, CONFIRM);
    const answer = await verify(token);
    expect([answer.status, answer.json]).toMatchObject([200, { message: "Email verified successfully" }]);
    expect(await isVerified(user)).toBe(true);
    expect((await verify(token)).status).toBe(410);
  });

  test("goes by GET for a program", async () => {
    const user = await newUser();
    const { token } = await linkTo(user.email, CONFIRM);
    const answer = await server.request("GET", `/api/auth/verify-email?token=${token}`);
    expect([answer.status, answer.json]).toMatchObject([200, { message: "Email verified successfully" }]);
    expect(await isVerified(user)).toBe(true);
  });

  test("is done by no program that only follows links, but by the page's button", async () => {
    const user = await newUser();
    const { path, token } = await linkTo(user.email, CONFIRM);
    for (const address of [path, `/api/auth/verify-email?token=${token}`]) {
      const response = await fetch(server.url + address, { headers: { Accept: "text/html,*/*;q=0.8" } });
      expect(response.status).toBe(200);
      expect(await response.text()).toContain('<form method="post" action="/verify-email">');
      expect(response.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
      expect(response.headers.get("Referrer-Policy")).toBe("no-referrer");
      expect(response.headers.get("Cache-Control")).toBe("no-store");
    }
    // Whatever it says that it accepts.
    expect((await fetch(server.url + path)).status).toBe(200);
    expect((await fetch(`${server.url}/api/auth/verify-email?token=${token}`, { method: "HEAD" })).status).toBe(200);
    expect(await isVerified(user)).toBe(false);
    expect((await form("/verify-email", { token })).text).toContain("Your address is confirmed");
    expect(await isVerified(user)).toBe(true);
    const again = await form("/verify-email", { token });
    expect([again.status, again.text]).toEqual([410, expect.stringContaining("This link is over")]);
  });

  test("refuses 422 a missing, 404 an unknown, 410 an expired token", async () => {
    expect((await server.request("GET", "/api/auth/verify-email")).status).toBe(422);
    expect((await post("/api/auth/verify-email", {})).status).toBe(422);
    expect((await verify("A".repeat(43))).status).toBe(404);
    expect((await server.request("GET", "/verify-email?token=nonsense")).status).toBe(404);
    const user = await newUser();
    const { token } = await linkTo(user.email, CONFIRM);
    await server.sql`update email_links set expires_at = now() where email = ${user.email}`;
    expect((await verify(token)).status).toBe(410);
    expect(await isVerified(user)).toBe(false);
  });

  test("fifty at once with one link: one gets through", async () => {
    const user = await newUser();
    const { token } = await linkTo(user.email, CONFIRM);
    const statuses = (await Promise.all(Array.from({ length: 50 }, () => verify(token)))).map(({ status }) => status);
    expect(statuses.sort()).toEqual([200, ...Array(49).fill(410)]);
  });

  test("a link of one kind is no link of another", async () => {
    const user = await newUser();
    const { token } = await linkTo(user.email, CONFIRM);
    expect((await reset(token)).status).toBe(404);
    await forgot(user.email);
    expect((await verify((await linkTo(user.email, RESET)).token)).status).toBe(404);
  });

  test("can be asked for again: the newer link ends the older, and 409 when there is nothing to confirm", async () => {
    const user = await newUser();
    const first = await linkTo(user.email, CONFIRM);
    expect((await post("/api/auth/resend-verification", undefined)).status).toBe(401);
    expect((await post("/api/auth/resend-verification", undefined, user.token)).status).toBe(200);
    const second = await linkTo(user.email, CONFIRM);
    expect((await verify(first.token)).status).toBe(410);
    expect((await verify(second.token)).status).toBe(200);
    expect((await post("/api/auth/resend-verification", undefined, user.token)).status).toBe(409);
  });
});

describe("a forgotten password", () => {
  test("is replaced by the link of a mail, which ends all sessions and tells the owner", async () => {
    const user = await newUser();
    expect((await forgot(` ${user.email.toUpperCase()} `)).status).toBe(200);
    const { token } = await linkTo(user.email, RESET);
    const answer = await reset(token, "tr0ubador and more");
    expect(answer.status).toBe(200);
    expect(await loginStatus(user.email, "tr0ubador and more")).toBe(200);
    expect(await loginStatus(user.email, user.password)).toBe(401);
    expect((await server.request("GET", "/api/user", { token: user.token })).status).toBe(401);
    expect((await post("/api/auth/refresh", { refresh_token: user.refreshToken })).status).toBe(401);
    await smtp.take(user.email, "Your password was changed");
    expect((await reset(token)).status).toBe(410);
    // Who reads the mail of an address has it.
    const [row] =
      await server.sql`select email_verified_at is not null as verified from users where email = ${user.email}`;
    expect(row.verified).toBe(true);
  });

  test("lets in again who was locked out by somebody's guessing", async () => {
    const user = await newUser();
    await Promise.all(Array.from({ length: 11 }, () => loginStatus(user.email, "a guess of a horse")));
    expect(await loginStatus(user.email, user.password)).toBe(429);
    await forgot(user.email);
    await reset((await linkTo(user.email, RESET)).token, "nobody's guess");
    expect(await loginStatus(user.email, "nobody's guess")).toBe(200);
  });

  test("is answered alike whether there is such an account or not, by the same statement", async () => {
    const user = await newUser();
    const before = await server.sql`select count(*)::int as rows from outbox`;
    const [known, unknown] = [await forgot(user.email), await forgot("nobody@example.com")];
    expect([known.status, known.text]).toEqual([200, unknown.text]);
    const headers = ({ headers }: Answer) => [...headers.keys()].sort();
    expect(headers(known)).toEqual(headers(unknown));
    await linkTo(user.email, RESET);
    for (let i = 0; i < 200; i++) {
      const [after] = await server.sql`select count(*)::int as rows from outbox`;
      // The row of nobody's is gone when it was looked at.
      if (after.rows === before[0].rows + 1) break;
      await Bun.sleep(25);
    }
    expect(smtp.arrived.some((mail) => mail.raw.includes("nobody@example.com"))).toBe(false);
  });

  test("is replaced on a page, in a form that works without script", async () => {
    const user = await newUser();
    await forgot(user.email);
    const { path, token } = await linkTo(user.email, RESET);
    const got = await fetch(server.url + path);
    const html = await got.text();
    expect(html).toContain('<form method="post" action="/reset-password">');
    expect(html).not.toContain("<script");
    expect(got.headers.get("Content-Security-Policy")).not.toContain("unsafe");
    const short = await form("/reset-password", { token, new_password: "short" });
    expect([short.status, short.text]).toEqual([422, expect.stringContaining("is too short")]);
    const done = await form("/reset-password", { token, new_password: "a horse by form" });
    expect([done.status, done.text]).toEqual([200, expect.stringContaining("Password changed")]);
    expect(await loginStatus(user.email, "a horse by form")).toBe(200);
    expect((await server.request("GET", path)).status).toBe(410);
    expect((await form("/reset-password", { token, new_password: "another horse" })).status).toBe(410);
  });

  test("refuses a bad password without using the link up, and forged, expired and older links", async () => {
    const user = await newUser();
    await forgot(user.email);
    const first = await linkTo(user.email, RESET);
    expect((await reset(first.token, "short")).status).toBe(422);
    await forgot(user.email);
    const second = await linkTo(user.email, RESET);
    expect((await reset(first.token)).status).toBe(410);
    expect((await reset(`${second.token}A`)).status).toBe(404);
    await server.sql`update email_links set expires_at = now() where user_id = (select max(id) from users) and purpose = 'reset'`;
    expect((await reset(second.token)).status).toBe(410);
    expect(await loginStatus(user.email, user.password)).toBe(200);
    expect((await forgot("")).status).toBe(422);
  });

  test("a page shows what it is given as text", async () => {
    const token = encodeURIComponent('"><script>alert(1)</script>');
    const headers = { Accept: "text/html" };
    const html = await (await fetch(`${server.url}/api/auth/verify-email?token=${token}`, { headers })).text();
    expect(html).toContain("alert(1)");
    expect(html).not.toContain("<script>");
  });
});

describe("a new address", () => {
  test("shows at once, unconfirmed; the old one is told, the new one is sent a link, and older links end", async () => {
    const user = await newUser();
    const old = await linkTo(user.email, CONFIRM);
    await verify(old.token);
    await forgot(user.email);
    const resetLink = await linkTo(user.email, RESET);
    const email = `new-${user.email}`;
    const { json } = await server.request("PUT", "/api/user", { token: user.token, body: { user: { email } } });
    expect(json.user).toMatchObject({ email, email_verified: false });
    expect((await smtp.take(user.email, "Your address was changed")).text).toContain(email);
    expect((await reset(resetLink.token)).status).toBe(410);
    const { token } = await linkTo(email, CONFIRM);
    expect((await verify(token)).status).toBe(200);
    expect(await isVerified(user)).toBe(true);
  });

  test("may be given many times at once: the last one's link is good, and no request fails", async () => {
    const user = await newUser();
    const emails = Array.from({ length: 4 }, (_, i) => `at-once-${i}-${user.email}`);
    const change = (email: string) =>
      server.request("PUT", "/api/user", { token: user.token, body: { user: { email } } });
    const answers = await Promise.all(emails.map(change));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const { email } = (await server.request("GET", "/api/user", { token: user.token })).json.user;
    expect((await verify((await linkTo(email, CONFIRM)).token)).status).toBe(200);
  });

  test("respelled is the same one", async () => {
    const user = await newUser();
    await verify((await linkTo(user.email, CONFIRM)).token);
    const body = { user: { email: user.email.toUpperCase() } };
    expect((await server.request("PUT", "/api/user", { token: user.token, body })).json.user.email_verified).toBe(true);
  });

  test("waits for its confirmation with REQUIRE_EMAIL_CONFIRMATION", async () => {
    const strict = await testServer({ address: server.address, requireEmailConfirmation: true });
    const [user, other] = [await newUser(), await newUser()];
    await verify((await linkTo(user.email, CONFIRM)).token);
    const email = `waits-${user.email}`;
    const change = (email: string) =>
      strict.request("PUT", "/api/user", { token: user.token, body: { user: { email, bio: "changed" } } });
    const taken = await change(other.email);
    expect([taken.status, taken.json.errors]).toEqual([409, { email: ["has already been taken"] }]);
    const { json } = await change(email);
    expect(json.user).toMatchObject({ email: user.email, email_verified: true, bio: "changed" });
    expect(await loginStatus(user.email, user.password)).toBe(200);
    await linkTo(email, CONFIRM);
    // It is the waiting address that a new link goes to.
    expect((await post("/api/auth/resend-verification", undefined, user.token)).status).toBe(200);
    const { token } = await linkTo(email, CONFIRM);
    expect((await verify(token)).status).toBe(200);
    const after = (await server.request("GET", "/api/user", { token: user.token })).json.user;
    expect(after).toMatchObject({ email, email_verified: true });
    expect(await loginStatus(user.email, user.password)).toBe(401);
  });

  test("that another account took meanwhile is refused when it is confirmed", async () => {
    const strict = await testServer({ address: server.address, requireEmailConfirmation: true });
    const user = await newUser();
    const email = `wanted-${user.email}`;
    await strict.request("PUT", "/api/user", { token: user.token, body: { user: { email } } });
    const { token } = await linkTo(email, CONFIRM);
    const other = await newUser();
    await server.request("PUT", "/api/user", { token: other.token, body: { user: { email } } });
    expect((await verify(token)).status).toBe(409);
    expect((await server.request("GET", "/api/user", { token: user.token })).json.user.email).toBe(user.email);
  });
});

describe("who takes an account back", () => {
  let strict: TestServer;
  beforeAll(async () => {
    strict = await testServer({ address: server.address, requireEmailConfirmation: true });
  });
  const wait = async (user: TestUser) => {
    const email = `waiting-${user.email}`;
    await strict.request("PUT", "/api/user", { token: user.token, body: { user: { email } } });
    return { email, link: await linkTo(email, CONFIRM) };
  };
  const emailOf = async (user: TestUser) =>
    (await server.sql`select email from users where username = ${user.username}`)[0].email;

  test("by a reset keeps it: an address that a thief left waiting cannot be confirmed any more", async () => {
    const user = await newUser();
    const { link } = await wait(user);
    await forgot(user.email);
    expect((await reset((await linkTo(user.email, RESET)).token)).status).toBe(200);
    expect((await verify(link.token)).status).toBe(410);
    expect(await emailOf(user)).toBe(user.email);
  });

  test("by a new password keeps it likewise", async () => {
    const user = await newUser();
    const { link } = await wait(user);
    const body = { user: { password: "another horse" } };
    expect((await strict.request("PUT", "/api/user", { token: user.token, body })).status).toBe(200);
    expect((await verify(link.token)).status).toBe(410);
    expect(await emailOf(user)).toBe(user.email);
  });

  test("by ending its sessions keeps it: a password that was still being hashed for one is not set", async () => {
    const user = await newUser();
    const { hash } = Bun.password;
    Bun.password.hash = async (...args) => {
      const ended = await post("/api/auth/logout", { refresh_token: user.refreshToken });
      expect(ended.status).toBe(200);
      return hash.apply(Bun.password, args);
    };
    try {
      const body = { user: { password: "a thief's horse" } };
      expect((await server.request("PUT", "/api/user", { token: user.token, body })).status).toBe(401);
    } finally {
      Bun.password.hash = hash;
    }
    expect(await loginStatus(user.email, user.password)).toBe(200);
  });

  test("by a new address keeps it: a reset link to the old one ends when the new one is confirmed", async () => {
    const user = await newUser();
    const { email, link } = await wait(user);
    await forgot(user.email);
    const old = await linkTo(user.email, RESET);
    expect((await verify(link.token)).status).toBe(200);
    expect(await emailOf(user)).toBe(email);
    expect((await server.request("GET", old.path)).status).toBe(410);
    expect((await reset(old.token)).status).toBe(410);
  });
});

describe("the owner is told", () => {
  test("when a refresh token was used twice, once", async () => {
    const user = await newUser();
    await post("/api/auth/refresh", { refresh_token: user.refreshToken });
    await server.sql`update sessions set rotated_at = rotated_at - interval '1 minute'`;
    for (const _ of [1, 2]) await post("/api/auth/refresh", { refresh_token: user.refreshToken });
    const mail = await smtp.take(user.email, "We signed a device out");
    expect(mail.text).toContain("Bun");
    const [row] = await server.sql`select count(*)::int as mails from outbox where kind = 'session_ended'`;
    expect(row.mails).toBe(1);
  });

  test("when the password was changed", async () => {
    const user = await newUser();
    await server.request("PUT", "/api/user", { token: user.token, body: { user: { password: "another horse" } } });
    await smtp.take(user.email, "Your password was changed");
  });
});

test("without a mail server, what needs mail answers 503, and the rest goes on", async () => {
  const mute = await testServer({ outbox: createOutbox(JWT_SECRET, false) });
  const user = await mute.register("mute");
  for (const [path, body] of [
    ["forgot-password", { email: user.email }],
    ["resend-verification", {}],
  ] as const) {
    const answer = await mute.request("POST", `/api/auth/${path}`, { body, token: user.token });
    expect([answer.status, answer.json.errors.mail]).toEqual([
      503,
      ["cannot be sent: no mail server is configured"],
    ]);
    expect(answer.headers.get("Retry-After")).toBe("3600");
  }
  const body = { user: { email: "other@example.com", password: "another horse" } };
  expect((await mute.request("PUT", "/api/user", { token: user.token, body })).status).toBe(200);
  const [row] =
    await mute.sql`select (select count(*) from outbox)::int + (select count(*) from email_links)::int as rows`;
  expect(row.rows).toBe(0);
});

test("no token, link or password of any of these is in the log or in a table, in plain", async () => {
  const tables =
    await server.sql`select table_name as name from information_schema.tables where table_schema = 'public'`;
  const dumps = await Promise.all(
    tables.map(async ({ name }: { name: string }) => {
      const rows = await server.sql.unsafe(`select t::text as row, to_json(t)::text as json from "${name}" t`);
      return JSON.stringify(rows);
    }),
  );
  const everything = `${JSON.stringify(lines)}\n${dumps.join("\n")}`;
  expect(lines.length).toBeGreaterThan(50);
  expect(everything).toContain("account-1@example.com");
  expect(secrets.length).toBeGreaterThan(30);
  for (const secret of secrets) {
    expect(everything.includes(secret)).toBe(false);
    expect(everything.includes(Buffer.from(secret).toString("hex"))).toBe(false);
  }
});
