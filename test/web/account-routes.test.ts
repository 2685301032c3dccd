import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestResponse, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { linkIn, startSending, type TestSmtp, testSmtp } from "../support/mail.ts";
import { recordingLog } from "../support/recording.ts";

const BROWSER = { Accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
const { log, lines } = recordingLog();
const tokens: string[] = [];
let server: TestServer;
let smtp: TestSmtp;
let worker: { stop(): Promise<void> };
let users = 0;

beforeAll(async () => {
  smtp = await testSmtp();
  server = await testServer({ log });
  worker = await startSending(server, smtp, { log });
});
afterAll(async () => {
  await worker.stop();
  await smtp.stop();
});

const newUser = (): Promise<TestUser> => server.register(`reader-${++users}`);

async function linkTo({ email }: TestUser, subject: string): Promise<{ path: string; token: string }> {
  const link = linkIn(await smtp.take(email, subject));
  tokens.push(link.token);
  return link;
}

async function resetLink(user: TestUser): Promise<{ path: string; token: string }> {
  await server.request("POST", "/api/auth/forgot-password", { body: { email: user.email } });
  return linkTo(user, "Choose a new password");
}

const submit = (path: string, fields: Record<string, string>): Promise<TestResponse> =>
  server.request("POST", path, {
    body: new URLSearchParams(fields).toString(),
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });

/** Status and heading of a page. */
function outline({ status, text }: TestResponse): [number, string | undefined] {
  return [status, /<h1>([^<]+)<\/h1>/.exec(text)?.[1]];
}

function expectPrivate(headers: Headers): void {
  expect(headers.get("Content-Security-Policy")).toStartWith("default-src 'none'; style-src 'self';");
  expect(headers.get("Content-Security-Policy")).not.toMatch(/unsafe|script-src/);
  expect(headers.get("Referrer-Policy")).toBe("no-referrer");
  expect(headers.get("Cache-Control")).toBe("no-store");
}

describe("the page to confirm an email address", () => {
  test("confirms by its button, and not when something opens or checks the link", async () => {
    const user = await newUser();
    const { path, token } = await linkTo(user, "Verify your email address");
    const isVerified = async () =>
      (await server.request("GET", "/api/user", { token: user.token })).json.user.email_verified;
    for (const address of [path, `/api/auth/verify-email?token=${token}`]) {
      // Not by server.request: the OpenAPI document has no HTML for the link of the API.
      const response = await fetch(server.url + address, { headers: BROWSER });
      const text = await response.text();
      expect(response.status).toBe(200);
      expect(text).toContain('<form method="post" action="/verify-email">');
      expect(text).toContain(`name="token" value="${token}"`);
      expectPrivate(response.headers);
      expect((await fetch(server.url + address, { method: "HEAD" })).status).toBe(200);
    }
    expect((await fetch(server.url + path)).status).toBe(200);
    expect(await isVerified()).toBe(false);
    expect(outline(await submit("/verify-email", { token }))).toEqual([200, "Email address verified"]);
    expect(await isVerified()).toBe(true);
    expect(outline(await submit("/verify-email", { token }))).toEqual([410, "This link has expired"]);
  });

  test("explains an incomplete and an invalid link", async () => {
    expect(outline(await server.request("GET", "/verify-email"))).toEqual([422, "This link is incomplete"]);
    expect(outline(await submit("/verify-email", {}))).toEqual([422, "This link is incomplete"]);
    expect(outline(await server.request("GET", "/verify-email?token=x"))).toEqual([404, "This link is invalid"]);
  });

  test("explains that another account uses the address", async () => {
    const [other, user] = [await newUser(), await newUser()];
    const { token } = await linkTo(user, "Verify your email address");
    await server.sql`update email_links set email = ${other.email}, email_key = ${other.email} where email = ${user.email}`;
    expect(outline(await submit("/verify-email", { token }))).toEqual([409, "This email address is already in use"]);
  });
});

describe("the page to choose a new password", () => {
  test("works without JavaScript", async () => {
    const user = await newUser();
    const { path, token } = await resetLink(user);
    const page = await server.request("GET", path);
    expect(outline(page)).toEqual([200, "Choose a new password"]);
    expect(page.text).toContain('<form method="post" action="/reset-password">');
    expect(page.text).not.toContain("<script");
    expectPrivate(page.headers);

    const short = await submit("/reset-password", { token, new_password: "short" });
    expect(outline(short)).toEqual([422, "Choose a new password"]);
    expect(short.text).toContain("The password is too short");
    expect(short.text).toContain('aria-invalid="true"');
    expectPrivate(short.headers);

    const password = "a horse by form";
    expect(outline(await submit("/reset-password", { token, new_password: password }))).toEqual([
      200,
      "Password changed",
    ]);
    const login = await server.request("POST", "/api/users/login", { body: { user: { email: user.email, password } } });
    expect(login.status).toBe(200);
    expect(outline(await server.request("GET", path))).toEqual([410, "This link has expired"]);
    expect(outline(await submit("/reset-password", { token, new_password: password }))).toEqual([
      410,
      "This link has expired",
    ]);
  });

  test("shows what it receives as text", async () => {
    const token = '"><script>alert(1)</script>';
    const { text } = await submit("/reset-password", { token, new_password: "short" });
    expect(text).toContain("&quot;&gt;&lt;script&gt;alert(1)");
    expect(text).not.toContain("<script>");
  });
});

describe("the page for a forgotten password", () => {
  test("works without JavaScript, and is the same for an unknown address", async () => {
    const user = await newUser();
    const page = await server.request("GET", "/forgot-password");
    expect(outline(page)).toEqual([200, "Forgot your password?"]);
    expect(page.text).toContain('<form method="post" action="/forgot-password">');
    expectPrivate(page.headers);
    const known = await submit("/forgot-password", { email: ` ${user.email.toUpperCase()}` });
    const unknown = await submit("/forgot-password", { email: "unknown@example.com" });
    expect(outline(known)).toEqual([200, "Check your email"]);
    expect(unknown.text).toBe(known.text);
    const { token } = await linkTo(user, "Choose a new password");
    expect(outline(await submit("/reset-password", { token, new_password: "a brand new horse" }))[0]).toBe(200);
  });

  test("shows what is wrong with the form, and when there are too many requests", async () => {
    const blank = await submit("/forgot-password", { email: " " });
    expect([blank.status, blank.text]).toEqual([422, expect.stringContaining("The email address can&#39;t be blank.")]);
    const many = [];
    for (let i = 0; i < 6; i++) many.push(await submit("/forgot-password", { email: "often@example.com" }));
    expect(outline(many.at(-1) as TestResponse)).toEqual([429, "Too many requests"]);
  });
});

test("no token of a link is in the log", () => {
  expect(tokens.length).toBeGreaterThan(2);
  for (const token of tokens) expect(JSON.stringify(lines)).not.toContain(token);
});
