import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog, describeError } from "../../src/observability/log.ts";
import { testBrowser } from "../support/browser.ts";
import { type TestResponse, testApp, testServer } from "../support/harness.ts";

type Line = { level: string; msg: string; err?: { type: string; message: string; cause?: object } } & Record<
  string,
  unknown
>;

/** A log that keeps its lines. */
function recorder() {
  let text = "";
  const log = createLog("debug", {
    write(lines) {
      text += lines;
    },
  });
  return {
    log,
    text(): string {
      log.flush();
      return text;
    },
    lines(): Line[] {
      log.flush();
      return text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line));
    },
    clear() {
      log.flush();
      text = "";
    },
  };
}

const stops: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const stop of stops) await stop();
});
async function recordedServer() {
  const record = recorder();
  const server = await testServer({ log: record.log });
  stops.push(server.stop);
  return { record, server };
}

describe("the line of a request", () => {
  test("has the user, the route, the outcome, the duration and the size of the response", async () => {
    const { record, server } = await recordedServer();
    const ada = await server.register("ada");
    await server.publish(ada);
    record.clear();
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const { text } = await server.request("GET", "/api/articles/a-title?x=1", {
      token: ada.token,
      headers: { "X-Request-Id": "a-caller's".replace("'", ""), traceparent },
    });
    const [line, ...others] = record.lines();
    expect(others).toEqual([]);
    expect<unknown>(line).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: "info",
      msg: "request",
      "http.request.method": "GET",
      "http.route": "/api/articles/:slug",
      "http.response.status_code": 200,
      "http.response.body.size": Buffer.byteLength(text),
      "http.server.request.duration_ms": expect.any(Number),
      "client.address": "127.0.0.1",
      "request.id": "a-callers",
      trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
      "user.id": "1",
    });
  });

  test("has the size of every kind of response", async () => {
    const { record, server } = await recordedServer();
    const ada = await server.register("ada");
    await server.publish(ada, { title: "Größe" });
    const asked: [string, string, object?][] = [
      ["GET", "/api/user", { token: ada.token }],
      ["GET", "/api/articles"],
      ["GET", "/api/nothing"],
      ["GET", "/health"],
      ["DELETE", "/api/articles/groesse", { token: ada.token }],
    ];
    for (const [method, path, options] of asked) {
      record.clear();
      const { text } = await server.request(method, path, options);
      expect(record.lines()[0]?.["http.response.body.size"]).toBe(Buffer.byteLength(text));
    }
  });

  test("says what is wrong with a token that was ignored", async () => {
    const { record, server } = await recordedServer();
    await server.request("GET", "/api/articles", { token: "x.y.z" });
    expect(record.lines()[0]).toMatchObject({ "http.response.status_code": 200, "token.error": "is malformed" });
  });

  test("has one route for every unknown path, and one method for every unknown method", async () => {
    const { record, server } = await recordedServer();
    for (const path of ["/nothing", "/api", "/api/a/b/c/d", "/wp-login.php"]) await server.request("GET", path);
    await server.request("PROPFIND", "/api/tags");
    expect(record.lines().map((line) => line["http.route"])).toEqual(Array(5).fill("(none)"));
    expect(record.lines().at(-1)?.["http.request.method"]).toBe("_OTHER");
  });
});

describe("X-Request-Id", () => {
  test("is kept if it is safe, and returned", async () => {
    const { record, server } = await recordedServer();
    for (const id of ["7", "abc-DEF_1.2:3/4+5=", "x".repeat(128)]) {
      const { headers } = await server.request("GET", "/api/tags", { headers: { "X-Request-Id": id } });
      expect(headers.get("x-request-id")).toBe(id);
      expect(record.lines().at(-1)?.["request.id"]).toBe(id);
    }
  });

  test("is made if it is missing or unsafe, also for errors", async () => {
    const { record, server } = await recordedServer();
    const made = new Set<unknown>();
    for (const id of [undefined, "x".repeat(129), "a b", '"', "<script>", "-x", "{}"]) {
      const headers: Record<string, string> = id === undefined ? {} : { "X-Request-Id": id };
      const answer = await server.request("GET", "/nothing", { headers });
      const returned = answer.headers.get("x-request-id");
      expect(returned).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(record.lines().at(-1)?.["request.id"]).toBe(returned);
      made.add(returned);
    }
    expect(made.size).toBe(7);
  });
});

test("an unknown error is logged with all of its causes, and the client gets one fixed sentence", async () => {
  const { record, server } = await recordedServer();
  await server.sql`alter table tags rename column name to other`;
  record.clear();
  const { status, text, headers } = await server.request("GET", "/api/tags");
  expect(status).toBe(500);
  expect(text).toBe('{"errors":{"server":["had an unexpected error"]}}');
  const error = record.lines().find(({ level }) => level === "error");
  expect(error).toMatchObject({
    "http.route": "/api/tags",
    "request.id": headers.get("x-request-id"),
    err: { type: "PostgresError", errno: "42703" },
  });

  const inner = new TypeError("the innermost");
  const chain = describeError(new Error("outer", { cause: new Error("middle", { cause: inner }) }), 10);
  expect(chain).toMatchObject({
    type: "Error",
    message: "outer",
    cause: { message: "middle", cause: { type: "TypeError", message: "the innermost" } },
  });
});

test("no token, password, email or body is in the log, whatever a client sends and however it fails", async () => {
  const { record, server } = await recordedServer();
  const secrets = {
    password: "hunter2-hunter2",
    newPassword: "hunter3-hunter3",
    wrongPassword: "hunter4-hunter4",
    email: "somebody-private@example.com",
    otherEmail: "someone-else@example.com",
    text: "the text that nobody may read",
  };
  const { password, newPassword, wrongPassword, email, otherEmail, text } = secrets;
  const user = { username: "ada", email, password };
  const created = await server.request("POST", "/api/users", { body: { user } });
  const { token } = created.json.user;
  const bob = await server.request("POST", "/api/users", {
    body: { user: { ...user, username: "bob", email: otherEmail } },
  });
  const article = { title: text, description: text, body: text, tagList: [text] };

  const issued: Record<string, string> = {
    token,
    signature: token.split(".")[2] ?? "",
    refresh: created.json.refresh_token,
    bob: bob.json.user.token,
    bobRefresh: bob.json.refresh_token,
  };
  const sender =
    (token: string) =>
    async (method: string, path: string, body?: unknown): Promise<TestResponse> => {
      const answer = await server.request(method, path, { token, body });
      for (const [name, value] of [
        ["token", answer.json?.user?.token],
        ["access", answer.json?.access_token],
        ["refresh", answer.json?.refresh_token],
      ]) {
        if (value !== undefined) issued[`${name} ${Object.keys(issued).length}`] = value;
      }
      return answer;
    };
  const drive = async () => {
    const send = sender(token);
    await send("POST", "/api/users", { user });
    await send("POST", "/api/users", `{"user":{"email":"${email}","password":"${password}`);
    await send("POST", "/api/users", { user: { ...user, email: [email], password: 7 } });
    await send("POST", "/api/users/login", { user: { email, password } });
    await send("POST", "/api/users/login", { user: { email, password: wrongPassword } });
    await send("GET", "/api/user");
    await send("PUT", "/api/user", { user: { bio: text, password: newPassword } });
    await send("PUT", "/api/user", { user: { email: otherEmail } });
    await send("POST", "/api/articles", { article });
    const { slug } = (await send("GET", "/api/articles?author=ada")).json?.articles?.[0] ?? { slug: "none" };
    await send("GET", `/api/articles?tag=${encodeURIComponent(text)}&author=${email}&favorited=${token}`);
    await send("GET", `/api/articles?limit=${email}`);
    await send("GET", "/api/articles/feed");
    await send("GET", `/api/articles/${slug}`);
    await send("POST", "/api/articles", { article: { ...article, status: "draft", publishAt: text } });
    await send("GET", `/api/user/articles?status=${email}`);
    await send("PUT", `/api/articles/${slug}`, { article: { body: text } });
    await send("GET", `/api/articles/${slug}/revisions`);
    await send("GET", `/api/articles/${slug}/revisions/1`);
    await send("GET", `/api/articles/${slug}/revisions/1/diff`);
    await send("POST", `/api/articles/${slug}/revisions/1/restore`);
    await send("POST", `/api/articles/${slug}/favorite`);
    await send("DELETE", `/api/articles/${slug}/favorite`);
    const comment = await send("POST", `/api/articles/${slug}/comments`, { comment: { body: text } });
    await send("GET", `/api/articles/${slug}/comments`);
    await send("DELETE", `/api/articles/${slug}/comments/${comment.json?.comment?.id ?? 1}`);
    await send("DELETE", `/api/articles/${slug}`);
    await send("GET", `/api/profiles/${email}`);
    await send("POST", "/api/profiles/bob/follow");
    await send("DELETE", "/api/profiles/bob/follow");
    await send("GET", `/api/tags?token=${token}`);
    await send("GET", `/api/search?q=${encodeURIComponent(text)}`);
    await send("GET", `/api/search/suggestions?q=${encodeURIComponent(text)}`);
    await send("GET", `/api/articles/${slug}?format=html`);
    for (const path of ["", `/profile/${email}`, `/tag/${token}`]) {
      for (const extension of ["atom", "rss", "json"]) await send("GET", `${path}/feed.${extension}`);
    }
    await send("GET", "/sitemap.xml?page=0");
    await send("GET", `/api/nothing/${token}/${email}`);
    for (const path of ["/", "/docs", "/openapi.json", "/robots.txt"]) await send("GET", path);
    for (const path of ["/health", "/health/live", "/health/ready"]) await send("GET", path);
    await send("GET", `/api/auth/verify-email?token=${token}`);
    await send("POST", "/api/auth/verify-email", { token });
    await send("POST", "/api/auth/resend-verification");
    await send("POST", "/api/auth/forgot-password", { email });
    await send("POST", "/api/auth/reset-password", { token, new_password: password });
    await send("POST", "/api/auth/undo-email-change", { token, new_password: password });
    for (const path of ["/verify-email", "/reset-password", "/undo-email-change", "/forgot-password"]) {
      await send("GET", `${path}?token=${token}`);
      const body = new URLSearchParams({ token, email, new_password: password }).toString();
      await server.request("POST", path, { body, headers: { "Content-Type": "application/x-www-form-urlencoded" } });
    }
    // An invalid token, alone and after another word.
    for (const bad of [`${token}x`, `x ${token}`]) await server.request("GET", "/api/user", { token: bad });
  };
  /** The same in the app, where the tokens are in a cookie. */
  const drivePages = async () => {
    const browser = testBrowser(server);
    const remember = () => {
      for (const part of browser.cookie().split(/[=~]/)) if (part.length > 20) issued[part.slice(0, 20)] = part;
    };
    const values = { username: "eve", email: `eve-${email}`, password, bio: text, image: text };
    const manuscript = { title: text, description: text, body: text, tag: text, publish: "1" };
    for (const path of [
      "/",
      "/tag/x",
      `/search?q=${encodeURIComponent(text)}`,
      "/login?next=/x",
      "/register",
      `/profile/bob?token=${token}`,
    ])
      await browser.get(path);
    await browser.submit("/register", values);
    remember();
    await browser.submit("/login", { email: otherEmail, password: wrongPassword });
    await browser.submit("/login", { email: otherEmail, password });
    remember();
    for (const path of ["/profile/ada/favorites", "/editor", "/drafts", "/settings", "/?feed=following"])
      await browser.get(path);
    await browser.submit("/settings", { ...values, username: "bob", email: otherEmail, password: newPassword });
    await browser.submit("/settings/verification");
    const { location } = await browser.submit("/editor", manuscript);
    const slug = location?.split("/").at(-1) ?? "none";
    await browser.get(`/article/${slug}`);
    await browser.get(`/editor/${slug}`);
    await browser.submit(`/editor/${slug}`, { ...manuscript, title: email });
    await browser.get(`/editor/${slug}/revisions`);
    await browser.get(`/editor/${slug}/revisions/1`);
    await browser.submit(`/editor/${slug}/revisions/1/restore`);
    for (const form of ["favorite", "unfavorite", "comments", "comments/1/delete", "delete"]) {
      await browser.submit(`/article/${slug}/${form}`, { body: text });
    }
    for (const form of ["follow", "unfollow"]) await browser.submit(`/profile/ada/${form}`);
    await browser.submit(`/settings/sessions/${crypto.randomUUID()}/end`);
    await browser.submit("/settings/sessions/end-others");
    await browser.submit("/logout");
  };
  const driveSessions = async () => {
    const send = sender(bob.json.user.token);
    const before = bob.json.refresh_token;
    const { refresh_token } = (await send("POST", "/api/auth/refresh", { refresh_token: before })).json;
    await send("POST", "/api/auth/refresh", { refresh_token });
    await send("POST", "/api/auth/refresh", { refresh_token: wrongPassword });
    await send("GET", "/api/auth/sessions");
    await send("DELETE", `/api/auth/sessions/${before}`);
    await send("DELETE", "/api/auth/sessions");
    await send("POST", "/api/auth/logout", { refresh_token });
  };

  await drive();
  await drivePages();
  await driveSessions();
  // Every route has been called.
  const { routes } = testApp(server.db);
  const known = new Set(routes.filter(({ method }) => method !== "ALL").map(({ method, path }) => `${method} ${path}`));
  const driven = new Set(record.lines().map((line) => `${line["http.request.method"]} ${line["http.route"]}`));
  expect([...known].filter((route) => !driven.has(route))).toEqual([]);

  // Unexpected errors with values in PostgreSQL's messages: of conversions, and of constraints that the code does not know.
  await server.sql`alter table users add constraint surprise check (bio is null or length(bio) < 3) not valid`;
  await server.sql`alter table articles add constraint surprise check (length(body) < 3) not valid`;
  await server.sql`
    create function surprise() returns trigger language plpgsql as $$
    begin perform new.body::integer; return new; end $$`;
  await server.sql`create trigger surprise before insert on comments for each row execute function surprise()`;
  await drive();
  await drivePages();
  await server.sql`alter table users rename column password_hash to other`;
  await drive();
  await drivePages();
  expect(record.lines().filter(({ level }) => level === "error").length).toBeGreaterThan(5);

  const log = record.text();
  const found = Object.entries({ ...secrets, ...issued }).filter(
    ([, secret]) => log.includes(secret) || log.includes(encodeURIComponent(secret)),
  );
  expect(found).toEqual([]);
  expect(log).not.toMatch(/\$argon2/);
});

describe("lines", () => {
  test("are at most as long as what a pipe takes whole, also for a huge error", () => {
    const record = recorder();
    let error = new Error("x".repeat(10_000));
    for (let i = 0; i < 50; i++) error = new Error("ü".repeat(10_000), { cause: error });
    record.log.error({ err: error }, "long");
    record.log.info({ text: "x".repeat(10_000) }, "long");
    expect(record.lines().map(({ msg }) => msg)).toEqual(["long", "long"]);
    for (const line of record.text().split("\n")) expect(Buffer.byteLength(line)).toBeLessThan(4_096);
  });

  test("are those of the chosen level and above", () => {
    let text = "";
    const log = createLog("warn", { write: (lines) => (text += lines) });
    log.debug({}, "a");
    log.info({}, "b");
    log.warn({}, "c");
    log.error({}, "d");
    log.flush();
    expect(text.match(/"msg":"."/g)).toEqual(['"msg":"c"', '"msg":"d"']);
  });

  test("are readable in a terminal, without fields that are absent", () => {
    let text = "";
    const log = createLog("info", { format: "pretty", write: (lines) => (text += lines) });
    log.info({ "http.response.status_code": 200, "http.route": "/api/tags", trace_id: undefined }, "request");
    expect(Bun.stripANSI(text)).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} INFO {2}request http\.response\.status_code=200 http\.route=\/api\/tags\n$/,
    );
  });

  for (const [end, code] of [
    ["a return", ""],
    ["process.exit", "process.exit(3)"],
    ["an uncaught error", "setTimeout(() => { throw new Error('x') })"],
  ]) {
    test(`are all written before the process ends, by ${end}`, async () => {
      const script = `import { createLog } from "./src/observability/log.ts";
        const log = createLog("info");
        for (let i = 0; i < 100; i++) log.info({ i }, "line");
        ${code}`;
      const child = Bun.spawn([process.execPath, "-e", script], {
        stdout: "pipe",
        stderr: "ignore",
        cwd: `${import.meta.dir}/../..`,
      });
      const lines = (await child.stdout.text()).split("\n").slice(0, -1);
      await child.exited;
      expect(lines.map((line) => JSON.parse(line).i)).toEqual([...Array(100).keys()]);
    });
  }

  test("of two processes on one pipe do not mix", async () => {
    const script = `import { createLog } from "./src/observability/log.ts";
      const log = createLog("info");
      for (let i = 0; i < 20_000; i++) log.info({ i, text: "x".repeat(i % 100) }, "line");`;
    const command = `'${process.execPath}' -e '${script}'`;
    // The reader is slow, so both processes wait for room in the pipe.
    const child = Bun.spawn(["sh", "-c", `(${command} & ${command} & wait) | dd bs=512 status=none`], {
      stdout: "pipe",
      cwd: `${import.meta.dir}/../..`,
    });
    const lines = (await child.stdout.text()).split("\n").slice(0, -1);
    expect(
      lines.filter((line) => !/^\{"time":"[^"]+","level":"info","msg":"line","i":\d+,"text":"x*"\}$/.test(line)),
    ).toEqual([]);
    expect(lines.length).toBe(40_000);
  });

  test("in a file are all there, in order", async () => {
    const file = join(tmpdir(), `conduit-log-${crypto.randomUUID()}`);
    const script = `import { createLog } from "./src/observability/log.ts";
      const log = createLog("info");
      for (let i = 0; i < 20_000; i++) log.info({ i }, "line");`;
    try {
      const child = Bun.spawn([process.execPath, "-e", script], {
        stdout: Bun.file(file),
        cwd: `${import.meta.dir}/../..`,
      });
      await child.exited;
      const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
      expect(lines.map((line) => JSON.parse(line).i)).toEqual([...Array(20_000).keys()]);
    } finally {
      rmSync(file, { force: true });
    }
  });
});
