import { beforeAll, describe, expect, spyOn, test } from "bun:test";
import { connect as connectTcp } from "node:net";
import { ARTICLE_REQUEST_SIZE_MAX } from "../../src/features/articles/schema.ts";
import { COMMENT_REQUEST_SIZE_MAX } from "../../src/features/comments/schema.ts";
import { RATE_LIMITS } from "../../src/features/identity/rate-limits.ts";
import { servedRoutes } from "../../src/http/openapi.ts";
import { REQUEST_SIZE_MAX } from "../../src/http/validation.ts";
import { type ArticleJson, type TestServer, type TestUser, testApp, testServer } from "../support/harness.ts";

let server: TestServer;
let anna: TestUser;
let article: ArticleJson;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
  article = await server.publish(anna, { title: "An article", tagList: ["t"] });
});

const MIB = 1024 * 1024;
const WHOLE = { title: "t", description: "d", body: "b" };

/** Sends bytes, or a stream without a length; without a content type unless one is given. */
async function send(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
  contentType: string | null = "application/json",
) {
  const response = await fetch(`${server.url}/api/articles`, {
    method: "POST",
    headers: {
      Authorization: `Token ${anna.token}`,
      ...(contentType === null ? {} : { "Content-Type": contentType }),
    },
    body: typeof body === "string" ? new TextEncoder().encode(body) : body,
  });
  return { status: response.status, errors: ((await response.json()) as { errors?: unknown }).errors };
}

/** A body of exactly this many bytes: a valid article, and an unknown field as padding. */
function bodyOf(size: number): string {
  const [before, after] = JSON.stringify({ fill: "@", article: WHOLE }).split("@") as [string, string];
  return before + "x".repeat(size - before.length - after.length) + after;
}

function chunked(text: string): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + 64 * 1024));
      at += 64 * 1024;
    },
  });
}

/** The response to a raw request, until the end of its head and body. */
function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    let response = "";
    const socket = connectTcp(Number(port), hostname, () => socket.write(text));
    socket.setTimeout(5_000, () => socket.destroy(new Error(`incomplete response: ${JSON.stringify(response)}`)));
    socket.on("data", (data) => {
      response += data;
      if (response.includes("}")) socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(response));
  });
}

describe("a body", () => {
  const tooLarge = (sizeMax: number) => ({ body: [`is too large (maximum is ${sizeMax} bytes)`] });

  test("of an article may have 3 MiB and 64 KiB, one byte more is 413, with a length or chunked without one", async () => {
    const errors = tooLarge(ARTICLE_REQUEST_SIZE_MAX);
    expect(ARTICLE_REQUEST_SIZE_MAX).toBe(3 * MIB + 64 * 1024);
    expect((await send(bodyOf(ARTICLE_REQUEST_SIZE_MAX))).status).toBe(201);
    expect(await send(bodyOf(ARTICLE_REQUEST_SIZE_MAX + 1))).toEqual({ status: 413, errors });
    expect((await send(chunked(bodyOf(ARTICLE_REQUEST_SIZE_MAX)))).status).toBe(201);
    expect(await send(chunked(bodyOf(ARTICLE_REQUEST_SIZE_MAX + 1)))).toEqual({ status: 413, errors });
  });

  test("of an article has room for 1 MiB of text in which the client escapes every letter", async () => {
    // What Python's json.dumps makes of Cyrillic.
    const escaped = "\\u0436".repeat(MIB / 2);
    const text = `{"article":{"title":"t","description":"d","body":"${escaped}"}}`;
    expect((await send(text)).status).toBe(201);
  });

  test("of any other route may have 16 KiB, and a comment's 128 KiB; a larger one is 413 before it is parsed", async () => {
    const routes: [string, string, number][] = [];
    for (const route of servedRoutes(testApp(server.db).routes)) {
      const [method = "", path = ""] = route.split(" ");
      if (!["POST", "PUT"].includes(method)) continue;
      const concrete = path.replace(":slug", article.slug).replace(":username", "anna");
      const sizeMax = /articles(\/:slug)?$/.test(path)
        ? ARTICLE_REQUEST_SIZE_MAX
        : path.endsWith("/comments")
          ? COMMENT_REQUEST_SIZE_MAX
          : REQUEST_SIZE_MAX;
      routes.push([method, concrete, sizeMax]);
    }
    const small = routes.filter(([, , sizeMax]) => sizeMax === REQUEST_SIZE_MAX);
    const reading: string[] = [];
    for (const [method, path, sizeMax] of routes) {
      // No JSON: whoever parses it responds with 400.
      const broken = async (size: number) => {
        const response = await fetch(server.url + path, {
          method,
          headers: { Authorization: `Token ${anna.token}`, "Content-Type": "application/json" },
          body: "{".repeat(size),
        });
        return { status: response.status, text: await response.text() };
      };
      const fits = await broken(sizeMax);
      // Following and favouriting read no body, and pages read forms.
      if (fits.status !== 400) continue;
      reading.push(path);
      const large = await broken(sizeMax + 1);
      expect([path, large.status, large.text]).toEqual([path, 413, JSON.stringify({ errors: tooLarge(sizeMax) })]);
    }
    expect(reading.length).toBeGreaterThanOrEqual(10);
    expect(small.length).toBeGreaterThan(6);
  });

  test("of 150,000 keys is refused by a login without being parsed, and is not even read above the address limit", async () => {
    const keys = JSON.stringify(Object.fromEntries(Array.from({ length: 150_000 }, (_, i) => [`k${i}`, i])));
    const parse = spyOn(JSON, "parse");
    const login = (on: TestServer) =>
      fetch(`${on.url}/api/users/login`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: chunked(keys),
      });
    const one = { address: { max: 1, windowS: 60, from: "first" } } as const;
    const strict = await testServer({ rateLimits: { ...RATE_LIMITS, login: one } });
    const statuses = [(await login(server)).status, (await login(strict)).status, (await login(strict)).status];
    expect(parse).not.toHaveBeenCalled();
    parse.mockRestore();
    expect(statuses).toEqual([413, 413, 429]);
  });

  test("is not read where the token is missing or bad", async () => {
    for (const headers of [{}, { Authorization: "Token bad" }]) {
      const answer = await fetch(`${server.url}/api/articles`, { method: "POST", headers, body: "{" });
      expect(answer.status).toBe(401);
    }
  });

  test("of a length that is too much is refused before it is sent", async () => {
    const answer = await raw(
      `POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${17 * 1024}\r\n\r\n{`,
    );
    expect(answer).toStartWith("HTTP/1.1 413 ");
    expect(answer).toEndWith(JSON.stringify({ errors: tooLarge(REQUEST_SIZE_MAX) }));
  });

  test("that is not JSON is 400", async () => {
    const errors = { body: ["is not valid JSON"] };
    for (const text of [
      "{",
      "nonsense",
      " ",
      '{"article":{}',
      "{'article':1}",
      '{"a":NaN}',
      '{"a":"\n"}',
      "[1,]",
      "{}{}",
    ])
      expect([text, await send(text)]).toEqual([text, { status: 400, errors }]);
  });

  test("that is not UTF-8 is 400", async () => {
    for (const bytes of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
      const text = (s: string) => [...new TextEncoder().encode(s)];
      const body = new Uint8Array([...text('{"article":{"title":"'), ...bytes, ...text('"}}')]);
      expect(await send(body)).toEqual({ status: 400, errors: { body: ["is not valid UTF-8"] } });
    }
  });

  test("that is compressed is 415, and the response names what the server accepts", async () => {
    const response = await fetch(`${server.url}/api/articles`, {
      method: "POST",
      headers: {
        Authorization: `Token ${anna.token}`,
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
      },
      body: Bun.gzipSync(JSON.stringify({ article: WHOLE })),
    });
    expect([response.status, response.headers.get("Accept-Encoding"), await response.json()]).toEqual([
      415,
      "identity",
      { errors: { body: ["must be sent without a Content-Encoding"] } },
    ]);
  });

  test("of another content type is 415", async () => {
    const errors = { body: ["must be sent as application/json"] };
    for (const type of [
      "text/plain",
      "text/json",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "nonsense",
    ])
      expect([type, await send(JSON.stringify({ article: WHOLE }), type)]).toEqual([type, { status: 415, errors }]);
    const form = new FormData();
    form.set("article", "x");
    const response = await fetch(`${server.url}/api/users`, { method: "POST", body: form });
    expect(response.status).toBe(415);
  });

  test("may come with parameters of its type, as another kind of JSON, or without a type", async () => {
    for (const type of ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json", null]) {
      expect([type, (await send(JSON.stringify({ article: WHOLE }), type)).status]).toEqual([type, 201]);
    }
    expect((await send(`\ufeff${JSON.stringify({ article: WHOLE })}`)).status).toBe(201);
  });

  test("that is missing or empty reports the missing object", async () => {
    for (const type of ["application/json", "text/plain"]) {
      expect(await send("", type)).toEqual({ status: 422, errors: { article: ["is missing"] } });
    }
    const none = await server.request("POST", "/api/users");
    expect([none.status, none.json.errors]).toEqual([422, { user: ["is missing"] }]);
  });

  test("without the required object reports its name", async () => {
    const inside: [string, string, string][] = [
      ["POST", "/api/users", "user"],
      ["POST", "/api/users/login", "user"],
      ["PUT", "/api/user", "user"],
      ["POST", "/api/articles", "article"],
      ["PUT", `/api/articles/${article.slug}`, "article"],
      ["POST", `/api/articles/${article.slug}/comments`, "comment"],
    ];
    for (const [method, path, name] of inside) {
      const post = async (body: unknown) => {
        const { status, json } = await server.request(method, path, { token: anna.token, body });
        return { path, status, errors: json.errors };
      };
      expect(await post({})).toEqual({ path, status: 422, errors: { [name]: ["is missing"] } });
      expect(await post({ [name]: null })).toEqual({ path, status: 422, errors: { [name]: ["is missing"] } });
      for (const wrong of ["x", 1, true, []]) {
        expect(await post({ [name]: wrong })).toEqual({ path, status: 422, errors: { [name]: ["must be an object"] } });
      }
      for (const whole of ["null", "[]", '"x"', "1", "true"]) {
        expect(await post(whole)).toEqual({ path, status: 422, errors: { body: ["must be an object"] } });
      }
    }
  });

  test("may contain unknown fields, which are ignored, even with unusual names", async () => {
    const text = JSON.stringify({ article: { ...WHOLE, slug: "mine", favoritesCount: 9, author: null }, other: [1] });
    const odd = text.replace("{", '{"__proto__":{"title":"x"},"constructor":1,"":0,');
    const { status, json } = await server.request("POST", "/api/articles", { token: anna.token, body: odd });
    expect(status).toBe(201);
    expect(json.article).toMatchObject({ title: "t", favoritesCount: 0, author: { username: "anna" } });
    expect(json.article.slug).not.toBe("mine");
  });

  test("that is deeply nested or full of errors gets a normal response", async () => {
    const deep = `{"article":{"title":${"[".repeat(500_000)}${"]".repeat(500_000)}}}`;
    expect([400, 422]).toContain((await send(deep)).status);
    const wrong = JSON.stringify({ article: { ...WHOLE, tagList: new Array(900_000).fill(1) } });
    expect(await send(wrong)).toEqual({ status: 422, errors: { tagList: ["must be a list of strings"] } });
  });
});

describe("U+0000 and lone surrogates", () => {
  const problem = ["contains a character that is not allowed"];
  const BAD = ["\0", "a\0b", "\ud800", "a\udc00b", "\udc00\ud800"];
  const places: [method: string, path: () => string, field: string, body: (bad: string) => unknown][] = [
    [
      "POST",
      () => "/api/users",
      "username",
      (bad) => ({ user: { username: `x${bad}x`, email: "a@b.c", password: "correct horse" } }),
    ],
    [
      "POST",
      () => "/api/users",
      "email",
      (bad) => ({ user: { username: "xxx", email: `a${bad}@b.c`, password: "correct horse" } }),
    ],
    [
      "POST",
      () => "/api/users",
      "password",
      (bad) => ({ user: { username: "xxx", email: "a@b.c", password: `correct ${bad}` } }),
    ],
    ["POST", () => "/api/users/login", "email", (bad) => ({ user: { email: `a${bad}`, password: "correct horse" } })],
    ["POST", () => "/api/users/login", "password", (bad) => ({ user: { email: "a@b.c", password: `correct ${bad}` } })],
    ...["username", "email", "password", "bio", "image"].map((field): (typeof places)[0] => [
      "PUT",
      () => "/api/user",
      field,
      (bad) => ({ user: { [field]: `correct${bad}` } }),
    ]),
    ...["title", "description", "body"].flatMap((field): typeof places => [
      ["POST", () => "/api/articles", field, (bad) => ({ article: { ...WHOLE, [field]: bad } })],
      ["PUT", () => `/api/articles/${article.slug}`, field, (bad) => ({ article: { [field]: bad } })],
    ]),
    ["POST", () => "/api/articles", "tagList", (bad) => ({ article: { ...WHOLE, tagList: ["good", bad] } })],
    ["PUT", () => `/api/articles/${article.slug}`, "tagList", (bad) => ({ article: { tagList: ["good", bad] } })],
    ["POST", () => `/api/articles/${article.slug}/comments`, "body", (bad) => ({ comment: { body: bad } })],
  ];
  for (const [method, path, field, body] of places) {
    const where = String(path).replace(/^.*?["`](.*)["`].*$/, "$1");
    test(`are 422 in the ${field} of ${method} ${where}`, async () => {
      for (const bad of BAD) {
        const { status, json } = await server.request(method, path(), { token: anna.token, body: body(bad) });
        expect([bad, status, json.errors]).toEqual([bad, 422, { [field]: problem }]);
      }
    });
  }

  test("are 422 in a query", async () => {
    for (const name of ["tag", "author", "favorited"]) {
      const { status, json } = await server.request("GET", `/api/articles?${name}=a%00b`);
      expect([name, status, json.errors]).toEqual([name, 422, { [name]: problem }]);
    }
    for (const name of ["limit", "offset"]) {
      expect((await server.request("GET", `/api/articles?${name}=1%00`)).status).toBe(422);
    }
  });

  const paths = (segment: string): [string, string, unknown?][] => [
    ["GET", `/api/articles/${segment}`],
    ["PUT", `/api/articles/${segment}`, { article: { body: "b" } }],
    ["DELETE", `/api/articles/${segment}`],
    ["POST", `/api/articles/${segment}/favorite`],
    ["DELETE", `/api/articles/${segment}/favorite`],
    ["GET", `/api/articles/${segment}/comments`],
    ["POST", `/api/articles/${segment}/comments`, { comment: { body: "b" } }],
    ["DELETE", `/api/articles/${segment}/comments/1`],
    ["DELETE", `/api/articles/${article.slug}/comments/${segment}`],
    ["GET", `/api/profiles/${segment}`],
    ["POST", `/api/profiles/${segment}/follow`],
    ["DELETE", `/api/profiles/${segment}/follow`],
  ];

  test("are 422 in a path", async () => {
    for (const [method, path, body] of paths("a%00b")) {
      const { status, json } = await server.request(method, path, { token: anna.token, body });
      expect([method, path, status, json.errors]).toEqual([method, path, 422, { path: problem }]);
    }
  });

  test("as bytes that are not UTF-8 in a path or a query match nothing", async () => {
    for (const bytes of ["%ED%A0%80", "%FF", "%C0%80", "%", "%zz", "a%E2%82"]) {
      for (const [method, path, body] of paths(bytes)) {
        const { status } = await server.request(method, path, { token: anna.token, body });
        expect([method, path, status]).toEqual([method, path, 404]);
      }
      for (const name of ["tag", "author", "favorited"]) {
        const { status, json } = await server.request("GET", `/api/articles?${name}=${bytes}`);
        expect([name, bytes, status, json.articlesCount]).toEqual([name, bytes, 200, 0]);
      }
    }
  });
});

/** Every path, with its methods. */
const ROUTES: [path: string, methods: string[]][] = [
  ["/health", ["GET", "HEAD"]],
  ["/api/users", ["POST"]],
  ["/api/users/login", ["POST"]],
  ["/api/user", ["GET", "HEAD", "PUT"]],
  ["/api/profiles/anna", ["GET", "HEAD"]],
  ["/api/profiles/anna/follow", ["DELETE", "POST"]],
  ["/api/articles", ["GET", "HEAD", "POST"]],
  ["/api/articles/feed", ["DELETE", "GET", "HEAD", "PUT"]],
  ["/api/articles/an-article", ["DELETE", "GET", "HEAD", "PUT"]],
  ["/api/articles/an-article/favorite", ["DELETE", "POST"]],
  ["/api/articles/an-article/comments", ["GET", "HEAD", "POST"]],
  ["/api/articles/an-article/comments/1", ["DELETE"]],
  ["/api/tags", ["GET", "HEAD"]],
];

describe("a path", () => {
  for (const [path, methods] of ROUTES) {
    test(`returns 405 with Allow for every other method, with or without a trailing slash: ${path}`, async () => {
      for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"].filter((method) => !methods.includes(method))) {
        for (const form of [path, `${path}/`]) {
          const { status, headers, json } = await server.request(method, form);
          expect([method, form, status, json.errors]).toEqual([method, form, 405, { method: ["is not allowed here"] }]);
          expect(headers.get("allow")).toBe(methods.join(", "));
        }
      }
    });
  }

  test("that does not exist is 404 for every method", async () => {
    for (const path of [
      "/api",
      "/api/",
      "/nope",
      "/api/nope",
      "/api/articles/a/b",
      "/api/user/1",
      "/API/tags",
      "/api//tags",
      "/api/tags//",
      "/api/articles/a//",
      // A dot in the path of a route stands for itself.
      "/openapiXjson",
      "/robotsXtxt",
    ])
      for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"]) {
        const { status, json } = await server.request(method, path);
        expect([method, path, status, json.errors]).toEqual([method, path, 404, { path: ["not found"] }]);
      }
  });

  test("with a trailing slash is the same path", async () => {
    const { slug } = await server.publish(anna, { title: "Slashes" });
    const call = (method: string, path: string, body?: unknown) =>
      server.request(method, path, { token: anna.token, body });
    for (const path of [
      "/health",
      "/api/user",
      "/api/tags",
      "/api/articles/feed",
      `/api/articles/${slug}`,
      `/api/articles/${slug}/comments`,
      "/api/profiles/anna",
    ]) {
      const [plain, slashed] = [await call("GET", path), await call("GET", `${path}/`)];
      expect([path, plain.status, slashed.status, slashed.text]).toEqual([path, 200, 200, plain.text]);
    }
    expect((await call("GET", "/api/articles/?limit=1&offset=0")).json.articles[0]?.slug).toBe(slug);
    expect((await call("POST", "/api/users/", { user: {} })).status).toBe(422);
    expect((await call("POST", "/api/users/login/", { user: {} })).status).toBe(422);
    expect((await call("PUT", "/api/user/", { user: { bio: null } })).status).toBe(200);
    expect((await call("POST", "/api/articles/", { article: WHOLE })).status).toBe(201);
    expect((await call("PUT", `/api/articles/${slug}/`, { article: { body: "b" } })).status).toBe(200);
    expect((await call("POST", `/api/articles/${slug}/favorite/`)).json.article.favorited).toBe(true);
    expect((await call("DELETE", `/api/articles/${slug}/favorite/`)).json.article.favorited).toBe(false);
    const { id } = (await call("POST", `/api/articles/${slug}/comments/`, { comment: { body: "c" } })).json.comment;
    expect((await call("DELETE", `/api/articles/${slug}/comments/${id}/`)).status).toBe(204);
    expect((await call("POST", "/api/profiles/nobody/follow/")).status).toBe(404);
    expect((await call("DELETE", "/api/profiles/anna/follow/")).status).toBe(200);
    expect((await call("DELETE", `/api/articles/${slug}/`)).status).toBe(204);
  });

  test("responds to HEAD as to GET, without the body", async () => {
    for (const path of ["/health", "/api/articles", `/api/articles/${article.slug}`, "/api/tags"]) {
      const { status, text, headers } = await server.request("HEAD", path);
      expect([path, status, text]).toEqual([path, 200, ""]);
      expect(headers.get("content-type")).toStartWith("application/json");
    }
  });

  test("responds to HEAD with the head of GET, also to a page, an error and a malformed request", async () => {
    const headOf = (response: string) =>
      response
        .slice(0, response.indexOf("\r\n\r\n"))
        .toLowerCase()
        .split("\r\n")
        .filter((line) => /^(http|content-|cache-control|access-control-)/.test(line))
        .sort();
    for (const request of [
      "/api/tags HTTP/1.1\r\nHost: localhost",
      "/docs HTTP/1.1\r\nHost: localhost",
      "/robots.txt HTTP/1.1\r\nHost: localhost",
      "/health/live HTTP/1.0",
      "/health/live HTTP/1.1\r\nHost: a b",
      "/api/articles/%00 HTTP/1.1\r\nHost: localhost",
      "/api/nothing HTTP/1.1\r\nHost: localhost",
      "/api/user HTTP/1.1\r\nHost: localhost",
    ]) {
      const [head, get] = await Promise.all(
        ["HEAD", "GET"].map((method) => raw(`${method} ${request}\r\nConnection: close\r\n\r\n`)),
      );
      expect(head).toEndWith("\r\n\r\n");
      expect([request, headOf(head ?? "")]).toEqual([request, headOf(get ?? "")]);
    }
  });
});

describe("CORS", () => {
  const origin = "https://front.example";
  const preflight = (to: TestServer, from: string) =>
    to.request("OPTIONS", "/api/articles/an-article", {
      headers: {
        Origin: from,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type",
      },
    });
  /** Responses of every kind, mostly errors. */
  const responses = async (to: TestServer, from: string) => {
    const headers = { Origin: from };
    return [
      await to.request("GET", "/api/tags", { headers }),
      await to.request("GET", "/api/user", { headers }),
      await to.request("GET", "/api/nope", { headers }),
      await to.request("PATCH", "/api/user", { headers }),
      await to.request("GET", "/api/articles?limit=0", { headers }),
      await to.request("POST", "/api/users", { headers, body: "{" }),
      await to.request("POST", "/api/users", { headers: { ...headers, "Content-Type": "text/plain" }, body: "x" }),
      await to.request("POST", "/api/users", { headers, body: bodyOf(2 * MIB + 1) }),
    ];
  };
  const STATUSES = [200, 401, 404, 405, 422, 400, 415, 413];

  test("allows every origin by default, in errors too, and its preflight allows every method and header", async () => {
    const { status, headers } = await preflight(server, origin);
    expect(status).toBe(204);
    expect(headers.get("access-control-allow-origin")).toBe("*");
    const methods = headers.get("access-control-allow-methods")?.split(",") ?? [];
    for (const method of ["GET", "POST", "PUT", "DELETE"]) expect(methods).toContain(method);
    expect(headers.get("access-control-allow-headers")?.toLowerCase()).toBe("authorization,content-type");
    expect(Number(headers.get("access-control-max-age"))).toBeGreaterThan(0);

    const all = await responses(server, origin);
    expect(all.map((response) => response.status)).toEqual(STATUSES);
    for (const response of all) expect(response.headers.get("access-control-allow-origin")).toBe("*");
    // What a page may read besides the body.
    for (const name of ["ETag", "Link", "RateLimit", "Retry-After", "WWW-Authenticate", "X-Request-Id"]) {
      expect(all[1]?.headers.get("access-control-expose-headers")?.split(",")).toContain(name);
    }
  });

  test("allows only the listed origins if there is a list", async () => {
    const strict = await testServer({ address: server.address, corsOrigins: ["https://other.example", origin] });
    const listed = await preflight(strict, origin);
    expect([listed.status, listed.headers.get("access-control-allow-origin")]).toEqual([204, origin]);
    const foreign = await preflight(strict, "https://evil.example");
    expect(foreign.headers.get("access-control-allow-origin")).toBeNull();
    for (const response of await responses(strict, origin)) {
      expect(response.headers.get("access-control-allow-origin")).toBe(origin);
      // So that no cache serves the response for one origin to another.
      expect(response.headers.get("vary")).toContain("Origin");
    }
    for (const response of await responses(strict, "https://evil.example")) {
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

test("a request runs one statement, or one transaction if it is a rare write", async () => {
  const names: string[] = [];
  const counting = await testServer({
    address: server.address,
    db: {
      ...server.db,
      rows: (statement, parameters) => {
        names.push(statement.name);
        return server.db.rows(statement, parameters);
      },
      row: (statement, parameters) => {
        names.push(statement.name);
        return server.db.row(statement, parameters);
      },
      transaction: (work) => {
        names.push("transaction");
        return server.db.transaction(work);
      },
    },
  });
  const { slug } = await counting.publish(anna, { tagList: ["a", "b"] });
  const { json } = await counting.request("POST", `/api/articles/${slug}/comments`, {
    token: anna.token,
    body: { comment: { body: "c" } },
  });
  const requests: [string, string, unknown?][] = [
    ["POST", "/api/users", { user: { username: "once", email: "once@example.com", password: "correct horse" } }],
    ["POST", "/api/users/login", { user: { email: anna.email, password: anna.password } }],
    ["POST", "/api/auth/refresh", { refresh_token: anna.refreshToken }],
    ["GET", "/api/user"],
    ["PUT", "/api/user", { user: { bio: null } }],
    ["POST", "/api/profiles/once/follow"],
    ["DELETE", "/api/profiles/once/follow"],
    ["GET", "/api/profiles/once"],
    ["GET", "/api/articles?tag=a&author=anna&favorited=anna"],
    ["GET", "/api/articles/feed"],
    ["GET", `/api/articles/${slug}`],
    ["POST", `/api/articles/${slug}/favorite`],
    ["DELETE", `/api/articles/${slug}/favorite`],
    ["GET", `/api/articles/${slug}/comments`],
    ["DELETE", `/api/articles/${slug}/comments/${json.comment.id}`],
    ["PUT", `/api/articles/${slug}`, { article: { body: "b", tagList: ["b", "c"] } }],
    ["DELETE", `/api/articles/${slug}`],
    ["GET", "/api/tags"],
  ];
  const inTransactions: string[] = [];
  for (const [method, path, body] of requests) {
    names.splice(0);
    const { status } = await counting.request(method, path, { token: anna.token, body });
    // Rate limits count the attempt first, and the mail of a registration. A login finds the user, counts a wrong password,
    // takes that back, and opens the session.
    const expected = { "/api/users": 3, "/api/users/login": 5, "/api/auth/refresh": 2 }[path] ?? 1;
    expect([path, status < 300, names.length]).toEqual([path, true, expected]);
    if (names.includes("transaction")) inTransactions.push(`${method} ${path}`);
  }
  expect(inTransactions).toEqual(["POST /api/users", "POST /api/users/login", "PUT /api/user"]);
});
