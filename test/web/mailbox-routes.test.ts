import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMailbox } from "../../src/mail/mailbox.ts";
import { type TestServer, testServer } from "../support/harness.ts";
import { startSending } from "../support/mail.ts";

describe("the development mailbox", () => {
  let folder: string;
  let dev: TestServer;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "conduit-mailbox-"));
    dev = await testServer({ mailbox: openMailbox(join(folder, "mail")) });
  });
  // Not by dev.request: these pages are not in the OpenAPI document.
  async function get(path: string, headers: Record<string, string> = {}) {
    const response = await fetch(dev.url + path, { headers });
    return { status: response.status, headers: response.headers, text: await response.text() };
  }

  test("lists and shows the emails, and their links work", async () => {
    expect((await get("/dev/mail")).text).toContain("No emails yet.");
    const worker = await startSending(dev, openMailbox(join(folder, "mail")));
    const user = await dev.register("<i>developer");
    let list = "";
    for (let i = 0; i < 400 && !list.includes("Confirm your email address"); i++) {
      await Bun.sleep(25);
      list = (await get("/dev/mail")).text;
    }
    await worker.stop();
    expect(list).toContain("Confirm your email address, &lt;i&gt;developer");
    const [path = ""] = /\/dev\/mail\/[0-9a-f-]+/.exec(list) ?? [];
    const mail = (await get(path)).text;
    const [, link = ""] = /<a class="link" href="(http[^"]+token=[^"]+)"/.exec(mail) ?? [];
    expect((await fetch(link)).status).toBe(200);
    const html = await get(`${path}/html`);
    expect(html.headers.get("Content-Security-Policy")).toContain("sandbox");
    expect(html.text).toContain('<base target="_blank">');
    const [file = ""] = await readdir(join(folder, "mail"));
    expect((await stat(join(folder, "mail", file))).mode & 0o077).toBe(0);
    expect(user.token).toBeDefined();
    expect((await get("/dev/mail/nothing")).status).toBe(404);
    expect((await get("/dev/mail/..%2f..%2fjwt-secret")).status).toBe(404);
    await rm(folder, { recursive: true });
  });

  test("responds only on the server's own machine, not through a proxy and not under another host name", async () => {
    expect((await get("/dev/mail", { "X-Forwarded-For": "127.0.0.1" })).status).toBe(403);
    expect((await get("/dev/mail", { Host: "evil.example:3000" })).status).toBe(403);
  });

  test("rejects requests of pages from other origins", async () => {
    const name = `${Date.now()}-${crypto.randomUUID()}`;
    for (const path of ["/dev/mail", `/dev/mail/${name}`, `/dev/mail/${name}/html`]) {
      expect([path, (await get(path, { Origin: "https://evil.example" })).status]).toEqual([path, 403]);
      expect([path, (await get(path, { Origin: "null" })).status]).toEqual([path, 403]);
    }
    expect((await get("/dev/mail", { Origin: dev.url })).status).toBe(200);
  });

  test("does not exist when emails are sent", async () => {
    const server = await testServer({ address: dev.address });
    expect((await server.request("GET", "/dev/mail")).status).toBe(404);
    await server.stop();
  });
});
