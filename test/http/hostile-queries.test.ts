import { afterAll, beforeAll, expect, test } from "bun:test";
import { servedRoutes } from "../../src/http/openapi.ts";
import { testBrowser } from "../support/browser.ts";
import { type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  await server.publish(anna, { title: "One", tagList: ["tea"] });
});
afterAll(() => server.stop());

/** Every parameter that some route knows. */
const API_NAMES = ["limit", "offset", "cursor", "tag", "author", "favorited", "q", "token", "key"];
const NAMES = [...API_NAMES, "page", "feed", "next", "comments", "sent"];
const everywhere = (value: string) => NAMES.map((name) => `${name}=${value}`).join("&");

const QUERIES = {
  "7 KB": everywhere("x".repeat(500)),
  "empty values": everywhere(""),
  "no values": NAMES.join("&"),
  duplicates: `${everywhere("1")}&${everywhere("2")}`,
  "lists and objects": NAMES.map((name) => `${name}[]=1&${name}[a]=1`).join("&"),
  "U+0000": `${everywhere("%00")}&%00=1`,
  "invalid UTF-8": everywhere("%ff%fe%c0%80"),
  "half a surrogate pair": everywhere("%ed%a0%80"),
  "invalid percent-encoding": everywhere("%&%zz=%1"),
  "the last code point": everywhere("%f4%8f%bf%bf"),
  "names of Object.prototype": "__proto__=1&constructor=2&hasOwnProperty=3&toString=4&__proto__[limit]=0",
  "a thousand parameters": Array.from({ length: 1_000 }, (_, i) => `a${i}`).join("&"),
  ampersands: "&".repeat(7_000),
  "400 digits": everywhere("9".repeat(400)),
  "other forms of numbers": `limit=-1&offset=1e2&${everywhere("%D9%A1")}`,
  "SQL and patterns": everywhere("%27%22;--%25_%5c"),
} as const;

test.each(Object.entries(QUERIES))(
  "a query with %s is an error of the client, or no problem, on every route",
  async (_, query) => {
    for (const route of servedRoutes(testApp(server.db, { web: false }).routes)) {
      const [method, path = ""] = route.split(" ");
      if (method !== "GET") continue;
      const concrete = path.replace(":slug", "one").replace(":username", "anna");
      for (const token of [undefined, anna.token]) {
        // Compares the response with the document, too.
        const { status } = await server.request("GET", `${concrete}?${query}`, { token });
        expect({ [concrete]: [200, 401, 404, 422].includes(status) ? "fine" : status }).toEqual({ [concrete]: "fine" });
      }
    }
  },
);

test.each(Object.entries(QUERIES))(
  "a query with %s is an error of the client, or no problem, on every page of the app",
  async (_, query) => {
    const reader = testBrowser(server);
    await reader.signIn(anna);
    const api = new Set(servedRoutes(testApp(server.db, { web: false }).routes));
    const pages = servedRoutes(testApp(server.db).routes).filter((route) => !api.has(route));
    expect(pages.length).toBeGreaterThan(20);
    for (const route of ["GET /", ...pages]) {
      const [method, path = ""] = route.split(" ");
      if (method !== "GET") continue;
      const concrete = path.replace(":slug", "one").replace(":username", "anna");
      for (const browser of [testBrowser(server), reader]) {
        const { status } = await browser.get(`${concrete}?${query}`);
        expect({ [concrete]: [200, 303, 404, 422].includes(status) ? "fine" : status }).toEqual({ [concrete]: "fine" });
      }
    }
  },
);

test("a query of 200 KB is refused before it reaches a route", async () => {
  const response = await fetch(`${server.url}/api/articles?tag=${"x".repeat(200_000)}`);
  expect(response.status).toBe(431);
});
