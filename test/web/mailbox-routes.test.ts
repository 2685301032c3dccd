import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mailboxKey, openMailbox } from "../../src/mail/mailbox.ts";
import { JWT_SECRET, type TestServer, testServer } from "../support/harness.ts";
import { startSending } from "../support/mail.ts";
import { until } from "../support/until.ts";

describe("the development mailbox", () => {
  let folder: string;
  let dev: TestServer;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "conduit-mailbox-"));
    dev = await testServer({ mailbox: openMailbox(join(folder, "mail")) });
  });
  // Not by dev.request: these pages are not in the OpenAPI document.
  async function get(path: string, headers: Record<string, string> = {}) {
    const response = await fetch(dev.url + path, { headers, redirect: "manual" });
    return { status: response.status, headers: response.headers, text: await response.text() };
  }
  /** Opens the link that the server prints at startup, and returns the cookie of its response. */
  async function openLink(): Promise<string> {
    const { status, headers } = await get(`/dev/mail?key=${mailboxKey(JWT_SECRET)}`);
    expect([status, headers.get("Location"), headers.get("Cache-Control")]).toEqual([303, "/dev/mail", "no-store"]);
    const cookie = headers.get("Set-Cookie") ?? "";
    expect(cookie).toMatch(/; Path=\/dev\/mail; HttpOnly; SameSite=Lax$/);
    return cookie.split(";")[0] ?? "";
  }

  test("lists and shows the emails, and their links work", async () => {
    const Cookie = await openLink();
    expect((await get("/dev/mail", { Cookie })).text).toContain("No emails yet.");
    const worker = await startSending(dev, openMailbox(join(folder, "mail")));
    const user = await dev.register("<i>developer");
    const list = await until(async () => {
      const { text } = await get("/dev/mail", { Cookie });
      return text.includes("Verify your email address") && text;
    });
    await worker.stop();
    const [path = ""] = /\/dev\/mail\/[0-9a-f-]+/.exec(list) ?? [];
    const mail = (await get(path, { Cookie })).text;
    const [, link = ""] = /<a class="link" href="(http[^"]+token=[^"]+)"/.exec(mail) ?? [];
    expect((await fetch(link)).status).toBe(200);
    const html = await get(`${path}/html`, { Cookie });
    expect(html.headers.get("Content-Security-Policy")).toContain("sandbox");
    expect(html.text).toContain('<base target="_blank">');
    const [file = ""] = await readdir(join(folder, "mail"));
    expect((await stat(join(folder, "mail", file))).mode & 0o077).toBe(0);
    expect(user.token).toBeDefined();
    expect((await get("/dev/mail/nothing", { Cookie })).status).toBe(404);
    expect((await get("/dev/mail/..%2f..%2fjwt-secret", { Cookie })).status).toBe(404);
    await rm(folder, { recursive: true });
  });

  test("responds only to browsers that opened the link with the key, also to clients on this machine", async () => {
    const name = `${Date.now()}-${crypto.randomUUID()}`;
    for (const path of ["/dev/mail", `/dev/mail/${name}`, `/dev/mail/${name}/html`]) {
      // As a client behind a proxy on this machine: without a header that would show it.
      expect([path, (await get(path)).status]).toEqual([path, 403]);
      expect([path, (await get(path, { Cookie: "conduit_mailbox=guess" })).status]).toEqual([path, 403]);
    }
    for (const key of ["guess", "", mailboxKey(`${JWT_SECRET} of another server`)]) {
      expect([key, (await get(`/dev/mail?key=${key}`)).status]).toEqual([key, 403]);
    }
    expect((await get("/dev/mail")).text).toContain("Open the link that the server prints at startup");
  });

  test("lets no page of another origin read a response to a request with the cookie", async () => {
    const Cookie = await openLink();
    const listed = await testServer({
      mailbox: openMailbox(join(folder, "mail")),
      corsOrigins: ["http://localhost:5173"],
    });
    for (const url of [dev.url, listed.url]) {
      const { status, headers } = await fetch(`${url}/dev/mail`, {
        headers: { Cookie, Origin: "http://localhost:5173" },
      });
      // Without this header, browsers hide the response to a request with a cookie (Fetch, 3.3.5).
      expect([url, status, headers.get("Access-Control-Allow-Credentials")]).toEqual([url, 200, null]);
    }
    await listed.stop();
  });

  test("does not exist when emails are sent", async () => {
    const server = await testServer({ address: dev.address });
    expect((await server.request("GET", "/dev/mail")).status).toBe(404);
    await server.stop();
  });
});
