import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import packageJson from "../../package.json";
import { type TestServer, testServer } from "../support/harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await testServer();
}, 30_000);

afterAll(() => server.stop());

const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

describe("GET /", () => {
  test("shows a browser where to go", async () => {
    const { status, headers, text } = await server.request("GET", "/", { headers: { Accept: BROWSER } });
    expect(status).toBe(200);
    expect(headers.get("Content-Type")).toBe("text/html; charset=utf-8");
    expect(headers.get("Vary")).toContain("Accept");
    expect(text.includes(`Version ${packageJson.version}`)).toBe(true);
    for (const [, path = ""] of text.matchAll(/href="([^"]+)"/g)) {
      expect((await server.request("GET", path)).status).toBe(200);
    }
  });

  test.each([{}, { Accept: "*/*" }, { Accept: "application/json" }])(
    "tells a program the same (%p)",
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

test("robots are told to stay away", async () => {
  const { text, headers } = await server.request("GET", "/robots.txt");
  expect(text).toBe("User-agent: *\nDisallow: /\n");
  expect(headers.get("Content-Type")).toStartWith("text/plain");
});

describe.each(["/", "/docs"])("the page at %s", (path) => {
  const load = () => server.request("GET", path, { headers: { Accept: BROWSER } });

  test("needs nothing from anywhere else", async () => {
    const { text } = await load();
    expect(/<(link|img|iframe|object|embed|base)\b|<script[^>]*\bsrc=|@import|\burl\(/i.exec(text)).toBeNull();
  });

  test("lets the browser run its own style and script, by their hash, and nothing more", async () => {
    const { text, headers } = await load();
    const policy = new Map(
      (headers.get("Content-Security-Policy") ?? "").split("; ").map((part) => {
        const [name = "", ...values] = part.split(" ");
        return [name, values.join(" ")];
      }),
    );
    const hashes = (element: string): string =>
      [...text.matchAll(new RegExp(`<${element}[^>]*>([\\s\\S]*?)</${element}>`, "g"))]
        .map(([, content = ""]) => `'sha256-${new Bun.CryptoHasher("sha256").update(content).digest("base64")}'`)
        .join(" ");
    expect(policy.get("default-src")).toBe("'none'");
    expect(policy.get("script-src")).toBe(hashes("script") || "'none'");
    expect(policy.get("style-src")).toBe(hashes("style"));
    expect(policy.get("frame-ancestors")).toBe("'none'");
    expect(/ on[a-z]+=| style=/.exec(text)).toBeNull();
  });

  test("is neither indexed, nor framed, nor told to others as a referrer", async () => {
    const { text, headers } = await load();
    expect(headers.get("X-Robots-Tag")).toBe("noindex");
    expect(text.includes('<meta name="robots" content="noindex">')).toBe(true);
    expect(headers.get("X-Frame-Options")).toBe("DENY");
    expect(headers.get("Referrer-Policy")).toBe("no-referrer");
  });
});

test.each(["/", "/docs", "/openapi.json", "/health", "/api/tags", "/api/user", "/api/articles/none", "/nowhere"])(
  "no browser guesses the type of %s, and nobody learns what serves it",
  async (path) => {
    const { headers } = await server.request("GET", path);
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("X-Powered-By")).toBeNull();
    expect(headers.get("Server")).toBeNull();
  },
);
