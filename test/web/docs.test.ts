import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import packageJson from "../../package.json";
import { openMailbox } from "../../src/mail/mailbox.ts";
import { type TestServer, testServer } from "../support/harness.ts";

// Without the app, which has a page of its own at "/".
let server: TestServer;
beforeAll(async () => {
  server = await testServer({ web: false });
}, 30_000);

afterAll(() => server.stop());

const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/** The content security policy of a response, by directive. */
function policyOf(headers: Headers): Record<string, string> {
  const directives = (headers.get("Content-Security-Policy") ?? "").split("; ");
  return Object.fromEntries(directives.map((directive) => directive.split(/ (.*)/).slice(0, 2)));
}

describe("GET /", () => {
  test("shows a browser what this is, with links that work", async () => {
    const { status, headers, text } = await server.request("GET", "/", { headers: { Accept: BROWSER } });
    expect(status).toBe(200);
    expect(headers.get("Content-Type")).toBe("text/html; charset=utf-8");
    expect(headers.get("Vary")).toContain("Accept");
    expect(text).toContain(`Version ${packageJson.version}`);
    const paths = [...text.matchAll(/<a [^>]*href="(\/[^"]*)"/g)].map(([, path = ""]) => path);
    expect([...new Set(paths)].sort()).toEqual(["/", "/docs", "/health", "/openapi.json"]);
    for (const path of paths) expect((await server.request("GET", path)).status).toBe(200);
  });

  test("links to the mailbox where emails are kept in one", async () => {
    const dev = await testServer({ address: server.address, web: false, mailbox: openMailbox("unused") });
    const { text } = await dev.request("GET", "/", { headers: { Accept: BROWSER } });
    await dev.stop();
    expect(text).toContain('<a href="/dev/mail">');
  });

  test.each([{}, { Accept: "*/*" }, { Accept: "application/json" }])(
    "responds to a program with JSON (%p)",
    async (headers) => {
      const { status, json } = await server.request("GET", "/", { headers });
      expect(status).toBe(200);
      expect<unknown>(json).toEqual({
        name: "conduit",
        version: packageJson.version,
        documentation: "/docs",
        openapi: "/openapi.json",
        health: "/health",
      });
    },
  );
});

test("robots.txt excludes everything without the app, and with it what is not for readers", async () => {
  const { text, headers } = await server.request("GET", "/robots.txt");
  expect(text).toBe("User-agent: *\nDisallow: /\n");
  expect(headers.get("Content-Type")).toStartWith("text/plain");
  const app = await testServer({ address: server.address });
  const rules = (await app.request("GET", "/robots.txt")).text;
  expect(rules).toBe(
    `User-agent: *\nDisallow: /api/\nDisallow: /docs\nDisallow: /editor\nDisallow: /drafts\nDisallow: /settings\n\nSitemap: ${app.url}/sitemap.xml\n`,
  );
  await app.stop();
});

describe.each(["/", "/docs"])("the page at %s", (path) => {
  const load = () => server.request("GET", path, { headers: { Accept: BROWSER } });

  test("has no inline style or script, and loads only the server's own assets", async () => {
    const { text } = await load();
    expect(text).not.toMatch(/ on[a-z]+=| style=|<style|<script(?![^>]* src=)|<(img|iframe|object|embed|base)\b/i);
    const loaded = [...text.matchAll(/<(?:link|script)[^>]* (?:href|src)="([^"]+)"/g)].map(([, url = ""]) => url);
    expect(loaded.length).toBeGreaterThan(1);
    for (const url of loaded) expect(url).toStartWith("/assets/");
  });

  test("has a strict content security policy", async () => {
    const policy = policyOf((await load()).headers);
    expect(policy).toMatchObject({
      "default-src": "'none'",
      "form-action": "'self'",
      "base-uri": "'none'",
      "frame-ancestors": "'none'",
    });
    // Swagger UI sets inline styles, and its style sheet has images as data.
    const reference = {
      "script-src": "'self'",
      "style-src": "'self' 'unsafe-inline'",
      "img-src": "'self' data:",
      "connect-src": "'self'",
    };
    expect(policy).toMatchObject(path === "/docs" ? reference : { "style-src": "'self'", "img-src": "'self'" });
    expect("script-src" in policy).toBe(path === "/docs");
  });

  test("is not indexed, framed or sent as a referrer", async () => {
    const { headers } = await load();
    expect(headers.get("X-Robots-Tag")).toBe("noindex");
    expect(headers.get("X-Frame-Options")).toBe("DENY");
    expect(headers.get("Referrer-Policy")).toBe("no-referrer");
  });
});

describe("an asset", () => {
  const assets = async (): Promise<string[]> => {
    const { text } = await server.request("GET", "/docs");
    return [...text.matchAll(/"(\/assets\/[^"]+)"/g)].map(([, path = ""]) => path);
  };
  // Not by server.request: assets are not in the OpenAPI document.
  const load = (path: string, method = "GET") => fetch(server.url + path, { method });

  test("is served with its type, to be kept for a year", async () => {
    const types = new Set<string | null>();
    for (const path of await assets()) {
      const response = await load(path);
      expect([path, response.status]).toEqual([path, 200]);
      expect(response.headers.get("Cache-Control")).toBe("public, max-age=31536000, immutable");
      expect((await response.text()).length).toBeGreaterThan(100);
      types.add(response.headers.get("Content-Type"));
    }
    expect([...types].sort()).toEqual(["image/svg+xml", "text/css; charset=utf-8", "text/javascript; charset=utf-8"]);
  });

  test("has a hash of its content in its path, and no other path", async () => {
    for (const path of await assets()) {
      const content = await (await load(path)).bytes();
      const hash = new Bun.CryptoHasher("sha256").update(content).digest("hex").slice(0, 16);
      expect(path).toStartWith(`/assets/${hash}/`);
    }
    for (const path of ["/assets/", "/assets/0123456789abcdef/site.css", "/assets/..%2f..%2fpackage.json"]) {
      expect([path, (await load(path)).status]).toEqual([path, 404]);
    }
    expect((await load((await assets())[0] as string, "POST")).status).toBe(404);
  });

  test("of Swagger UI loads nothing else, and the telemetry of its package is replaced by an empty package", async () => {
    const [path = ""] = (await assets()).filter((asset) => asset.endsWith("/swagger-ui.css"));
    const style = await (await load(path)).text();
    const loads = [...style.matchAll(/@import[^;]*|@font-face|url\(["']?([^"')]{0,40})/g)];
    expect(loads.map(([whole, url = whole]) => url).filter((url) => !url.startsWith("data:"))).toEqual([]);
    const telemetry = await import("@scarf/scarf/package.json");
    expect(telemetry.name).toBe("noop2");
  });
});

test.each(["/", "/docs", "/openapi.json", "/health", "/api/tags", "/api/user", "/api/articles/none", "/nowhere"])(
  "%s has a fixed content type and does not say which software serves it",
  async (path) => {
    const { headers } = await server.request("GET", path);
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("X-Powered-By")).toBeNull();
    expect(headers.get("Server")).toBeNull();
  },
);
