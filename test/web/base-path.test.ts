import { afterAll, beforeAll, expect, test } from "bun:test";
import { mailboxKey, openMailbox } from "../../src/mail/mailbox.ts";
import { JWT_SECRET, type TestServer, testServer } from "../support/harness.ts";

const BASE = "/conduit";
let server: TestServer;
let proxy: Bun.Server<undefined>;
beforeAll(async () => {
  server = await testServer({ baseUrl: `https://conduit.example${BASE}`, mailbox: openMailbox("unused") });
  // What a proxy does for a server under a path: it removes the path.
  proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith(`${BASE}/`)) return new Response("another program", { status: 404 });
      const { method, headers } = request;
      const body = method === "GET" ? {} : { body: await request.text() };
      const url = `${server.url}${pathname.slice(BASE.length)}${search}`;
      return fetch(url, { method, headers, ...body, redirect: "manual", decompress: false });
    },
  });
});
afterAll(() => proxy.stop(true));

const load = (path: string) => fetch(proxy.url.origin + path, { headers: { Accept: "text/html" } });

test.each(["/", "/docs", "/verify-email?token=x", "/reset-password?token=x"])(
  "with a path in BASE_URL, every link and asset of the page %s works behind the proxy",
  async (path) => {
    const html = await (await load(BASE + path)).text();
    const links = [...html.matchAll(/ (?:href|src|action|data-document)="(?!#|https?:)([^"]*)"/g)].map(
      ([, link = ""]) => link,
    );
    expect(links.length).toBeGreaterThan(3);
    for (const link of links) {
      expect(link).toStartWith(`${BASE}/`);
      // It needs its key.
      if (link === `${BASE}/dev/mail`) continue;
      expect([link, (await load(link)).status]).toEqual([link, 200]);
    }
  },
);

test("with a path in BASE_URL, forms are sent to where the proxy passes them on", async () => {
  const hash = new Bun.CryptoHasher("sha256").update("the-token").digest("hex");
  const anna = await server.register("anna");
  await server.sql`update email_links set token_hash = decode(${hash}, 'hex') where email = ${anna.email}`;
  const page = await (await load(`${BASE}/verify-email?token=the-token`)).text();
  const action = / action="([^"]+)"/.exec(page)?.[1] ?? "";
  expect(action).toBe(`${BASE}/verify-email`);
  const response = await fetch(proxy.url.origin + action, {
    method: "POST",
    body: new URLSearchParams({ token: "the-token" }),
  });
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining("Email address verified")]);
});

test("with a path in BASE_URL, the document and the overview have it in their URLs", async () => {
  const document = (await (await load(`${BASE}/openapi.json`)).json()) as { servers: unknown; paths: object };
  expect(document.servers).toEqual([{ url: BASE }]);
  expect(Object.keys(document.paths)).toContain("/api/tags");
  const overview = await (await fetch(`${proxy.url.origin}${BASE}/`)).json();
  expect(overview).toMatchObject({
    documentation: `${BASE}/docs`,
    openapi: `${BASE}/openapi.json`,
    health: `${BASE}/health`,
  });
});

test("with a path in BASE_URL, the key of the mailbox leads to it", async () => {
  const url = `${proxy.url.origin}${BASE}/dev/mail?key=${mailboxKey(JWT_SECRET)}`;
  const { status, headers } = await fetch(url, { redirect: "manual" });
  expect([status, headers.get("Location")]).toEqual([303, `${BASE}/dev/mail`]);
  expect(headers.get("Set-Cookie")).toContain(`; Path=${BASE}/dev/mail;`);
});

test("text of a page that looks like a link stays as it is", async () => {
  const html = await (await load(`${BASE}/reset-password?token=${encodeURIComponent('" href="/evil')}`)).text();
  expect(html).not.toContain(`href="${BASE}/evil`);
});
