import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createLinkTokens } from "../../../../src/mail/links.ts";
import { JWT_SECRET, type TestResponse, type TestServer, testServer } from "../../../support/harness.ts";
import {
  holdUser,
  identityRequests,
  linkTo,
  PASSWORD_CHANGED_SUBJECT,
  RESET_SUBJECT,
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

const resetLink = (email: string) => linkTo(smtp, email, RESET_SUBJECT);
const loginStatus = async (email: string, password: string) => (await api.login(email, password)).status;

describe("a password reset", () => {
  test("sets a new password, verifies the address, ends all sessions and sends a notice", async () => {
    const user = await api.newUser();
    expect((await api.forgot(` ${user.email.toUpperCase()} `)).status).toBe(200);
    const { token } = await resetLink(user.email);
    expect((await api.reset(token, "tr0ubador and more")).status).toBe(200);
    expect(await loginStatus(user.email, user.password)).toBe(401);
    expect((await api.current(user.token)).status).toBe(401);
    expect((await api.refresh(user.refreshToken)).status).toBe(401);
    const { json } = await api.login(user.email, "tr0ubador and more");
    expect(json.user.email_verified).toBe(true);
    await smtp.take(user.email, PASSWORD_CHANGED_SUBJECT);
    const again = await api.reset(token);
    expect([again.status, again.json.errors]).toEqual([410, { token: ["has already been used or has expired"] }]);
  });

  test("ends with a new password in the settings, which sends the same notice", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    expect((await api.update(user, { password: "another horse" })).status).toBe(200);
    await smtp.take(user.email, PASSWORD_CHANGED_SUBJECT);
    expect((await api.reset(token)).status).toBe(410);
    expect(await loginStatus(user.email, "another horse")).toBe(200);
  });

  test("enqueues no email without a mail server", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const mute = await testServer({
      address: server.address,
      mail: { isEnabled: false, ...createLinkTokens(JWT_SECRET) },
    });
    await worker.stop();
    expect((await identityRequests(mute).reset(token)).status).toBe(200);
    expect(await jobsOf(server.sql, "mail")).toEqual([]);
    worker = await startSending(server, smtp);
  });

  test("lets users in whom wrong passwords had locked out", async () => {
    const user = await api.newUser();
    await Promise.all(Array.from({ length: 11 }, () => loginStatus(user.email, "a guess of a horse")));
    expect(await loginStatus(user.email, user.password)).toBe(429);
    await api.forgot(user.email);
    await api.reset((await resetLink(user.email)).token, "a password to remember");
    expect(await loginStatus(user.email, "a password to remember")).toBe(200);
  });

  test("a password that is too short leaves the link unused; forged, expired and replaced links do not work", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const first = await resetLink(user.email);
    expect((await api.reset(first.token, "short")).status).toBe(422);
    expect((await server.request("GET", first.path)).status).toBe(200);
    await api.forgot(user.email);
    const second = await resetLink(user.email);
    expect((await api.reset(first.token)).status).toBe(410);
    expect((await api.reset(`${second.token}A`)).status).toBe(404);
    await server.sql`update email_links set expires_at = now() where email = ${user.email} and purpose = 'reset'`;
    expect((await api.reset(second.token)).status).toBe(410);
    expect(await loginStatus(user.email, user.password)).toBe(200);
  });

  test("does not work for an address that the user has left, even by hand", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const key = `by-hand-${user.email}`;
    await server.sql`update users set email = ${key}, email_key = ${key} where username = ${user.username}`;
    expect((await api.reset(token)).status).toBe(410);
    expect(await loginStatus(key, user.password)).toBe(200);
  });

  test("of ten requests with one link at once, exactly one succeeds", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const passwords = Array.from({ length: 10 }, (_, i) => `a horse of number ${i}`);
    const answers = await Promise.all(passwords.map((password) => api.reset(token, password)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(410)]);
    const winner = answers.findIndex(({ status }) => status === 200);
    expect(await loginStatus(user.email, passwords[winner] ?? "")).toBe(200);
  });
});

describe("a password reset at the same moment as", () => {
  test("a login with the old password: the session of that login ends", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const hold = await holdUser(server, user);
    const login = api.login(user.email, user.password);
    await hold.waiting(1);
    const reset = api.reset(token);
    await hold.waiting(2);
    await hold.release();
    expect((await reset).status).toBe(200);
    const { status, json } = await login;
    expect(status).toBe(200);
    expect((await api.current(json.access_token)).status).toBe(401);
    expect((await api.refresh(json.refresh_token)).status).toBe(401);
  });

  test("a login with the old password that comes second: the login fails", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const hold = await holdUser(server, user);
    const reset = api.reset(token);
    await hold.waiting(1);
    const login = api.login(user.email, user.password);
    await hold.waiting(2);
    await hold.release();
    expect((await reset).status).toBe(200);
    expect((await login).status).toBe(401);
    const [row] = await server.sql`
      select count(*)::int as live from sessions s join users u on u.id = s.user_id
       where u.email = ${user.email} and s.revoked_at is null`;
    expect(row.live).toBe(0);
  });

  test("a new password from a session that the reset ends: the password of the reset stays", async () => {
    const user = await api.newUser();
    await api.forgot(user.email);
    const { token } = await resetLink(user.email);
    const hold = await holdUser(server, user);
    const reset = api.reset(token);
    await hold.waiting(1);
    const change = api.update(user, { password: "a thief's horse" });
    await hold.waiting(2);
    await hold.release();
    expect((await reset).status).toBe(200);
    const refused = await change;
    expect([refused.status, refused.json.errors]).toEqual([401, { token: ["belongs to a session that has ended"] }]);
    expect(await loginStatus(user.email, "a thief's horse")).toBe(401);
    expect(await loginStatus(user.email, "a brand new horse")).toBe(200);
  });
});

describe("POST /api/auth/forgot-password", () => {
  test("does not reveal whether a user has the address, and sends no mail to an unknown one", async () => {
    const user = await api.newUser();
    const [known, unknown] = [await api.forgot(user.email), await api.forgot("unknown@example.com")];
    expect([known.status, known.text]).toEqual([200, unknown.text]);
    const headers = ({ headers }: TestResponse) => [...headers.keys()].sort();
    expect(headers(known)).toEqual(headers(unknown));
    await resetLink(user.email);
    // This user's mail is sent after the one to the unknown address would have been.
    await api.forgot(user.email);
    await resetLink(user.email);
    expect(smtp.arrived.some((mail) => mail.raw.includes("unknown@example.com"))).toBe(false);
    const [row] = await server.sql`
      select count(*)::int as links from email_links where email = 'unknown@example.com'`;
    expect(row.links).toBe(0);
  });

  test("runs the same statements for a known and an unknown address", async () => {
    const statementsFor = async (email: string): Promise<string[]> => {
      const observed = await testServer({ address: server.address });
      const names: string[] = [];
      const { rows, transaction } = observed.db;
      observed.db.rows = (statement, parameters) => {
        names.push(statement.name);
        return rows(statement, parameters);
      };
      observed.db.transaction = (work) => {
        names.push("transaction");
        return transaction(work);
      };
      const answer = await observed.request("POST", "/api/auth/forgot-password", { body: { email } });
      expect(answer.status).toBe(200);
      await observed.stop();
      return names;
    };
    const known = await statementsFor((await api.newUser()).email);
    expect(known.length).toBeGreaterThan(1);
    expect(await statementsFor("unknown@example.com")).toEqual(known);
  });

  test("needs an address", async () => {
    expect((await api.forgot("")).status).toBe(422);
  });

  test("is 503 without a mail server", async () => {
    const mute = await testServer({ mail: { isEnabled: false, ...createLinkTokens(JWT_SECRET) } });
    const answer = await mute.request("POST", "/api/auth/forgot-password", { body: { email: "a@example.com" } });
    expect([answer.status, answer.json.errors, answer.headers.get("Retry-After")]).toEqual([
      503,
      { mail: ["cannot be sent: no mail server is configured"] },
      "3600",
    ]);
  });
});
