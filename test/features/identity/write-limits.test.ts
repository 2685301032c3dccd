import { expect, test } from "bun:test";
import type { Context } from "hono";
import { loadConfig } from "../../../src/config/settings.ts";
import { createWriteLimits, type WriteRates } from "../../../src/features/identity/write-limits.ts";
import { writeRates } from "../../../src/server/server.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";
import { until } from "../../support/until.ts";

const rate = (max: number) => ({ max, windowS: 60 });
const WIDE: WriteRates = {
  articles: rate(1_000),
  "article-bytes": rate(1_000_000),
  comments: rate(1_000),
  follows: rate(1_000),
  favorites: rate(1_000),
  renames: rate(1_000),
  networkFactor: 20,
};

async function limited(rates: Partial<WriteRates>, options: object = {}) {
  const server = await testServer({ writeRates: { ...WIDE, ...rates }, ...options });
  const anna = await server.register("anna");
  const [bert] = (await addUsers(server, anna, ["bert"])) as [TestUser];
  return { server, anna, bert };
}
const article = (body = "b") => ({ article: { title: "t", description: "d", body } });
const publish = (server: TestServer, user: TestUser, body = "b", headers = {}) =>
  server.request("POST", "/api/articles", { token: user.token, body: article(body), headers });

test("an account may write so much in a time, and then waits: 429 with Retry-After in the error format", async () => {
  const { server, anna, bert } = await limited({
    articles: rate(2),
    comments: rate(2),
    follows: rate(2),
    favorites: rate(2),
  });
  const { slug } = await server.publish(bert);
  const own = await server.publish(anna);
  const one = `/api/articles/${slug}`;
  const writes: [string, [string, string, unknown?][]][] = [
    [
      "articles",
      [
        ["PUT", `/api/articles/${own.slug}`, { article: { body: "c" } }],
        ["POST", "/api/articles", article()],
      ],
    ],
    ["comments", [["POST", `${one}/comments`, { comment: { body: "c" } }]]],
    [
      "follows",
      [
        ["POST", "/api/profiles/bert/follow"],
        ["DELETE", "/api/profiles/bert/follow"],
      ],
    ],
    [
      "favorites",
      [
        ["POST", `${one}/favorite`],
        ["DELETE", `${one}/favorite`],
      ],
    ],
  ];
  for (const [name, requests] of writes) {
    // One article was published above.
    const allowed = name === "articles" ? 1 : 2;
    for (let i = 0; i < allowed + 2; i++) {
      const [method, path, body] = requests[i % requests.length] as [string, string, unknown?];
      const { status, headers, json } = await server.request(method, path, { token: anna.token, body });
      expect([name, i, status]).toEqual([name, i, i < allowed ? (body && method === "POST" ? 201 : 200) : 429]);
      if (i < allowed) continue;
      expect(json.errors).toEqual({ requests: [expect.stringMatching(/^are too many, try again in \d+ seconds$/)] });
      expect(Number(headers.get("Retry-After"))).toBeWithin(50, 61);
      expect(headers.get("RateLimit")).toMatch(new RegExp(`^"${name}-user";r=0;t=\\d+$`));
      expect(headers.get("RateLimit-Policy")).toBe(`"${name}-user";q=2;w=60`);
    }
  }
  // Another account, and everything that is no write.
  expect((await publish(server, bert)).status).toBe(201);
  expect((await server.request("GET", one, { token: anna.token })).status).toBe(200);
  expect((await server.request("DELETE", `/api/articles/${own.slug}`, { token: anna.token })).status).toBe(204);
});

test("the bodies of an account's articles may have so many bytes in a time", async () => {
  const { server, anna } = await limited({ "article-bytes": rate(10_000) });
  const { slug } = (await publish(server, anna, "é".repeat(2_500))).json.article;
  const put = (body: string) =>
    server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: { article: { body } } });
  expect((await put("x".repeat(5_001))).status).toBe(429);
  expect((await put("x".repeat(5_000))).status).toBe(200);
  expect((await put("x")).status).toBe(429);
  const title = { article: { title: "No new body" } };
  expect((await server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: title })).status).toBe(200);
});

test("all accounts of a network together may write so many times as much as one", async () => {
  const { server, anna, bert } = await limited(
    { articles: rate(2), networkFactor: 1 },
    { trustedProxies: ["127.0.0.1/32"] },
  );
  const from = (address: string) => ({ "X-Forwarded-For": address });
  expect((await publish(server, anna, "b", from("2001:db8:0:1::1"))).status).toBe(201);
  expect((await publish(server, bert, "b", from("2001:db8:0:1::2"))).status).toBe(201);
  const [cleo] = (await addUsers(server, anna, ["cleo"])) as [TestUser];
  expect((await publish(server, cleo, "b", from("2001:db8:0:1::3"))).status).toBe(429);
  expect((await publish(server, cleo, "b", from("2001:db8:0:2::1"))).status).toBe(201);
});

test("a refused write counts for nobody, and is refused before its body is read", async () => {
  const { server, anna, bert } = await limited({ articles: rate(1), networkFactor: 2 });
  await publish(server, anna);
  for (let i = 0; i < 5; i++) expect((await publish(server, anna)).status).toBe(429);
  const unread = await server.request("POST", "/api/articles", { token: anna.token, body: "{" });
  expect(unread.status).toBe(429);
  expect((await publish(server, bert)).status).toBe(201);
});

test("servers count together, within a second or two", async () => {
  const { server, anna } = await limited({ articles: rate(1_000) });
  const second = await testServer({ address: server.address, writeRates: { ...WIDE, articles: rate(1_000) } });
  for (const on of [server, server, second]) expect((await publish(on, anna)).status).toBe(201);
  const counted = async () =>
    (await server.sql`select max(count)::integer as n from rate_limits where key like 'articles:user:%'`)[0].n;
  await until(async () => (await counted()) === 3);
  const [row] = await server.sql`select string_agg(key, ' ') as keys from rate_limits`;
  expect(row.keys).not.toMatch(/127\.0\.0\.1| 1\b/);
  // What other servers counted is in the result of the next flush, after which this server has the same total.
  await server.sql`update rate_limits set count = 1000 where key like 'articles:user:%'`;
  await until(async () => (await publish(server, anna)).status === 429);
});

test("many counts reach the database in batches", async () => {
  const server = await testServer();
  const sizes: number[] = [];
  const db: typeof server.db = {
    ...server.db,
    rows: (statement, parameters) => {
      sizes.push(String((parameters as Record<string, unknown>).keys).split(",").length);
      return server.db.rows(statement, parameters);
    },
  };
  const guard = createWriteLimits(db, () => null, WIDE).limit("follows");
  for (let id = 1; id <= 12_000; id++) guard({ get: () => String(id) } as unknown as Context, async () => {});
  let counted = 0;
  while (counted < 12_000) [{ counted }] = await server.sql`select count(*)::integer as counted from rate_limits`;
  expect(sizes).toEqual([10_000, 2_000]);
}, 20_000);

test("the default rates leave room for the official suites, and stop who publishes 131 articles or 125 MB in seconds", () => {
  const rates = writeRates(loadConfig({}));
  // A burst of 15 a second for some seconds, and eight runs of the suite at once behind one address.
  expect(rates.articles.max).toBeWithin(60, 131);
  expect(rates.articles.max * rates.networkFactor).toBeGreaterThan(8 * 154);
  expect(rates.comments.max * rates.networkFactor).toBeGreaterThan(8 * 154);
  expect(rates["article-bytes"].max).toBeLessThan(125_000_000);
  expect(rates["article-bytes"].max).toBeGreaterThan(40 * 1024 * 1024);
});

test("rates are settings: a number and a time", () => {
  const config = loadConfig({ RATE_LIMIT_ARTICLES: "5/1h", RATE_LIMIT_NETWORK_FACTOR: "3" });
  expect(writeRates(config)).toMatchObject({ articles: { max: 5, windowS: 3_600 }, networkFactor: 3 });
  for (const bad of ["5", "0/1h", "5/", "5/h", "/1h", "5/1h/1", "x/1h", "5/31d"]) {
    expect(() => loadConfig({ RATE_LIMIT_ARTICLES: bad })).toThrow("RATE_LIMIT_ARTICLES must be a");
  }
});
