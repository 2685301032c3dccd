import { afterAll, beforeAll, beforeEach, describe, expect, setSystemTime, test } from "bun:test";
import { createHmac } from "node:crypto";
import { createTokens } from "../../../src/features/identity/tokens.ts";
import { type ArticleJson, JWT_SECRET, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { goneUser } from "../../support/people.ts";
import { recordingLog } from "../../support/recording.ts";

const { log, lines } = recordingLog();
let server: TestServer;
let anna: TestUser;
let deleted: TestUser;
let article: ArticleJson;
let annaId: string;
beforeAll(async () => {
  server = await testServer({ log });
  anna = await server.register("anna");
  deleted = await goneUser(server, anna, "deleted");
  article = await server.publish(anna, { tagList: ["one"] });
  annaId = claimsOf(anna.token).sub;
});
afterAll(() => server.stop());
beforeEach(() => void lines.splice(0));

type Claims = { sub: string; sid: string; aud: string; iat: number; exp: number; jti: string };
const claimsOf = (token: string): Claims => JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token signed by hand, as in RFC 7515. */
function tokenOf(
  claims: object,
  { header = { alg: "HS256", typ: "JWT" }, secret = JWT_SECRET, hash = "sha256" }: Partial<typeof DEFAULTS> = {},
): string {
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${createHmac(hash, secret).update(text).digest("base64url")}`;
}
const DEFAULTS = { header: {} as object, secret: "", hash: "" };

const now = () => Math.floor(Date.now() / 1000);
const good = (): Claims => ({
  sub: annaId,
  sid: crypto.randomUUID(),
  aud: "conduit-api",
  iat: now(),
  exp: now() + 60,
  jti: crypto.randomUUID(),
});

/** Every kind of invalid token, with the problem that the response reports. */
const BAD: Record<string, [token: () => string, problem: string]> = {
  "that is not a JWT": [() => "nonsense", "is malformed"],
  "of two parts": [() => anna.token.split(".").slice(0, 2).join("."), "is malformed"],
  "of four parts": [() => `${anna.token}.x`, "is malformed"],
  "whose payload is not JSON": [() => anna.token.replace(/\..*\./, ".bm9uc2Vuc2U."), "is malformed"],
  "signed with another secret": [() => tokenOf(good(), { secret: "another secret of 32 bytes or more" }), "is invalid"],
  "whose claims were replaced": [
    () => {
      const [header, , signature] = anna.token.split(".");
      return [header, part({ ...good(), sub: "1" }), signature].join(".");
    },
    "is invalid",
  ],
  "of alg none, unsigned": [() => `${part({ alg: "none", typ: "JWT" })}.${part(good())}.`, "is invalid"],
  "of alg none, signed": [() => tokenOf(good(), { header: { alg: "none" } }), "is invalid"],
  "of another algorithm with our secret": [
    () => tokenOf(good(), { header: { alg: "HS512", typ: "JWT" }, hash: "sha512" }),
    "is invalid",
  ],
  "that has expired": [() => tokenOf({ ...good(), iat: now() - 120, exp: now() - 60 }), "has expired"],
  "without sub": [() => tokenOf({ ...good(), sub: undefined }), "is malformed"],
  "without iat": [() => tokenOf({ ...good(), iat: undefined }), "is malformed"],
  "without exp": [() => tokenOf({ ...good(), exp: undefined }), "is malformed"],
  "without jti": [() => tokenOf({ ...good(), jti: undefined }), "is malformed"],
  "without sid": [() => tokenOf({ ...good(), sid: undefined }), "is malformed"],
  "whose sid is not a UUID": [() => tokenOf({ ...good(), sid: "1 or 1=1" }), "is malformed"],
  "whose sid is a list": [() => tokenOf({ ...good(), sid: [good().sid] }), "is malformed"],
  "whose sub is not an id": [() => tokenOf({ ...good(), sub: "1 or 1=1" }), "is malformed"],
  "whose sub is wider than an id": [() => tokenOf({ ...good(), sub: "9999999999999999999" }), "is malformed"],
  "whose sub is a number": [() => tokenOf({ ...good(), sub: Number(annaId) }), "is malformed"],
  "whose sub is a list": [() => tokenOf({ ...good(), sub: [annaId] }), "is malformed"],
  "without aud": [() => tokenOf({ ...good(), aud: undefined }), "is malformed"],
  "for another audience": [() => tokenOf({ ...good(), aud: "another-service" }), "is malformed"],
  "for several audiences": [() => tokenOf({ ...good(), aud: ["conduit-api", "another-service"] }), "is malformed"],
  "of a user who no longer exists": [() => deleted.token, "belongs to a session that has ended"],
};

describe("an access token", () => {
  test("is HS256 with user, session, audience, time of issue, expiry and an id of its own", () => {
    expect(JSON.parse(Buffer.from(anna.token.split(".")[0] ?? "", "base64url").toString())).toEqual({
      alg: "HS256",
      typ: "JWT",
    });
    const claims = claimsOf(anna.token);
    expect(Object.keys(claims).sort()).toEqual(["aud", "exp", "iat", "jti", "sid", "sub"]);
    expect(claims.exp - claims.iat).toBe(24 * 3600);
    expect(Math.abs(claims.iat - now())).toBeLessThan(60);
    const other = claimsOf(createTokens(JWT_SECRET, 60).issue(annaId, claims.sid));
    expect(other.jti).not.toBe(claims.jti);
    expect(other.exp - other.iat).toBe(60);
  });

  test("signed by hand with the secret is valid", async () => {
    expect((await server.request("GET", "/api/user", { token: tokenOf(good()) })).status).toBe(200);
  });

  for (const scheme of ["Token", "Bearer", "token", "BEARER"]) {
    test(`can be sent as "${scheme} x"`, async () => {
      const headers = { Authorization: `${scheme} ${anna.token}` };
      expect((await server.request("GET", "/api/user", { headers })).json.user.username).toBe("anna");
    });
  }

  for (const value of ["Basic YW5uYTpob3JzZQ==", "Token", "Bearer", "Bearer a b"]) {
    test(`is malformed if the header is "${value}"`, async () => {
      const { status, json } = await server.request("GET", "/api/user", { headers: { Authorization: value } });
      expect([status, json.errors]).toEqual([401, { token: ["is malformed"] }]);
    });
  }

  test("expires, also if it was verified and cached before", async () => {
    const token = tokenOf(good());
    const { exp } = claimsOf(token);
    const requestAt = (atS: number) => {
      setSystemTime(atS * 1000);
      return server.request("GET", "/api/user", { token });
    };
    try {
      expect((await requestAt(exp - 1)).status).toBe(200);
      expect((await requestAt(exp + 1)).json.errors).toEqual({ token: ["has expired"] });
    } finally {
      setSystemTime();
    }
  });
});

test("a token that was evicted from the cache is still valid, and forgeries of it are not", () => {
  const tokens = createTokens(JWT_SECRET, 60);
  const sid = crypto.randomUUID();
  const [first, second] = [tokens.issue("1", sid), tokens.issue("2", sid)] as const;
  for (const token of [first, second]) tokens.verify(token);
  for (let i = 0; i < 12_000; i++) tokens.verify(tokens.issue(String(i + 3), sid));
  expect([tokens.verify(first).sub, tokens.verify(second).sub]).toEqual(["1", "2"]);
  const [head, body, signature] = first.split(".");
  expect(() => tokens.verify([head, second.split(".")[1], signature].join("."))).toThrow("is invalid");
  expect(() => tokens.verify(`${head}.${body}.`)).toThrow();
  expect(() => tokens.verify(`${first}x`)).toThrow();
});

/** Every route that needs a user, with a valid body. */
const REQUIRED: [method: string, path: () => string, body?: unknown][] = [
  ["GET", () => "/api/user"],
  ["PUT", () => "/api/user", { user: { bio: "b" } }],
  ["GET", () => "/api/articles/feed"],
  ["POST", () => "/api/articles", { article: { title: "t", description: "d", body: "b" } }],
  ["PUT", () => `/api/articles/${article.slug}`, { article: { body: "b" } }],
  ["DELETE", () => `/api/articles/${article.slug}`],
  ["POST", () => `/api/articles/${article.slug}/favorite`],
  ["DELETE", () => `/api/articles/${article.slug}/favorite`],
  ["POST", () => `/api/articles/${article.slug}/comments`, { comment: { body: "b" } }],
  ["DELETE", () => `/api/articles/${article.slug}/comments/1`],
  ["POST", () => "/api/profiles/anna/follow"],
  ["DELETE", () => "/api/profiles/anna/follow"],
];

describe("a route that needs a token", () => {
  for (const [method, path, body] of REQUIRED) {
    const name = `${method} ${String(path).replace(/^.*?["`](.*)["`].*$/, "$1")}`;
    test(`returns 401 without a token and for every invalid one: ${name}`, async () => {
      const missing = await server.request(method, path(), { body });
      expect([missing.status, missing.json.errors]).toEqual([401, { token: ["is missing"] }]);
      expect(missing.headers.get("www-authenticate")).toBe("Bearer");
      for (const [kind, [token, problem]] of Object.entries(BAD)) {
        const { status, json, headers } = await server.request(method, path(), { token: token(), body });
        expect([kind, status, json.errors]).toEqual([kind, 401, { token: [problem] }]);
        expect(headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
      }
    });
  }

  test("changed nothing for the invalid tokens above", async () => {
    const { json } = await server.request("GET", `/api/articles/${article.slug}`);
    expect(json.article).toEqual(article);
    expect((await server.request("GET", `/api/articles/${article.slug}/comments`)).json.comments).toEqual([]);
    expect((await server.request("GET", "/api/articles")).json.articlesCount).toBe(1);
  });

  test("checks the token before the body and the query", async () => {
    for (const [method, path] of [
      ["POST", "/api/articles"],
      ["GET", "/api/articles/feed?limit=x"],
      ["DELETE", "/api/articles/no-such"],
    ] as const) {
      expect((await server.request(method, path, method === "POST" ? { body: "{" } : {})).status).toBe(401);
    }
  });
});

const OPTIONAL: [name: string, path: () => string][] = [
  ["the list of articles", () => "/api/articles"],
  ["an empty list", () => "/api/articles?tag=no-such"],
  ["an article", () => `/api/articles/${article.slug}`],
  ["comments", () => `/api/articles/${article.slug}/comments`],
  ["a profile", () => "/api/profiles/anna"],
];

describe("a route with an optional token", () => {
  for (const [name, path] of OPTIONAL) {
    test(`treats every invalid one as missing, and reports it in a header and the log: ${name}`, async () => {
      const anonymous = await server.request("GET", path());
      expect([anonymous.status, anonymous.headers.get("www-authenticate")]).toEqual([200, null]);
      expect(lines.at(-1)?.fields).not.toHaveProperty("token.error");
      for (const [kind, [token, problem]] of Object.entries(BAD)) {
        const answer = await server.request("GET", path(), { token: token() });
        expect([kind, answer.status, answer.text]).toEqual([kind, 200, anonymous.text]);
        expect(answer.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
        expect(lines.at(-1)?.fields["token.error"]).toBe(problem);
      }
      const { headers } = await server.request("GET", path(), { token: anna.token });
      expect(headers.get("www-authenticate")).toBeNull();
    });
  }

  for (const value of ["Basic YW5uYTpob3JzZQ==", "Token", "Bearer a b"]) {
    test(`treats the header "${value}" as an invalid token`, async () => {
      const { status, headers } = await server.request("GET", "/api/articles", { headers: { Authorization: value } });
      expect([status, headers.get("www-authenticate")]).toEqual([200, 'Bearer error="invalid_token"']);
      expect(lines.at(-1)?.fields["token.error"]).toBe("is malformed");
    });
  }

  test("returns 404 as to an anonymous reader", async () => {
    for (const path of ["/api/articles/no-such", "/api/articles/no-such/comments", "/api/profiles/no-such"]) {
      const answer = await server.request("GET", path, { token: "nonsense" });
      expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([404, 'Bearer error="invalid_token"']);
    }
  });
});

test("routes without authentication ignore an invalid token", async () => {
  expect((await server.request("GET", "/api/tags", { token: "nonsense" })).status).toBe(200);
  expect((await server.request("GET", "/health", { token: "nonsense" })).status).toBe(200);
  const login = await server.request("POST", "/api/users/login", {
    token: "nonsense",
    body: { user: { email: anna.email, password: anna.password } },
  });
  expect(login.status).toBe(200);
});

test("the log contains no token, password, email, body or query", async () => {
  const secretBody = "a body that is private";
  await server.request("POST", "/api/users/login", { body: { user: { email: anna.email, password: anna.password } } });
  await server.request("POST", "/api/users/login", { body: { user: { email: anna.email, password: "wrong horse" } } });
  await server.request("POST", "/api/users", { body: { user: { ...anna, password: anna.password } } });
  await server.request("POST", "/api/articles", {
    token: anna.token,
    body: { article: { title: "t", description: "d", body: secretBody } },
  });
  await server.request("POST", "/api/articles", { token: anna.token, body: `{"article": "${secretBody}` });
  await server.request("GET", "/api/articles?tag=private-tag", { token: tokenOf(good(), { secret: "x".repeat(32) }) });
  expect(lines.length).toBe(6);
  const text = Bun.inspect(lines, { depth: 20 });
  for (const secret of [anna.token, ".eyJ", anna.password, "wrong horse", anna.email, secretBody, "private-tag"]) {
    expect(text).not.toContain(secret);
  }
});
