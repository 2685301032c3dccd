import { afterAll, beforeAll, expect, test } from "bun:test";
import { dirname, join } from "node:path";
import { ENDPOINTS } from "../../bench/endpoints.ts";
import { servedRoutes } from "../../src/http/openapi.ts";
import { type TestServer, testApp, testServer } from "../support/harness.ts";

const readme = await Bun.file(join(dirname(dirname(import.meta.dir)), "README.md")).text();
let server: TestServer;
beforeAll(async () => {
  server = await testServer();
}, 60_000);
afterAll(() => server.stop());

/** The routes that clients use, as `GET /api/tags`: without the pages for browsers. */
function apiRoutes(): string[] {
  return servedRoutes(testApp(server.db).routes).filter((route) => /^\w+ \/(api|health)(\/|$)/.test(route));
}

/** dash, the `sh` of Debian, has none of bash's extensions. */
const SHELLS = ["bash", "dash"].filter((shell) => Bun.which(shell) !== null);

test.each(SHELLS)("the README's example runs twice in %s, and shows what it says", async (name) => {
  const example = /```sh\n(API=.*?)```/s.exec(readme)?.[1] ?? "";
  const shown = /```json\n(.*?)```/s.exec(readme)?.[1] ?? "";
  const script = `set -eu\ncurl() { command curl --show-error --fail-with-body "$@"; echo; }\n${example}`;
  for (const _run of ["first", "second"]) {
    const shell = Bun.spawn([name, "-c", script.replaceAll("http://localhost:3000", server.url)], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([shell.stdout.text(), shell.stderr.text()]);
    expect({ exit: await shell.exited, err }).toEqual({ exit: 0, err: "" });
    const last = JSON.parse(out.trim().split("\n").at(-1) ?? "");
    expect(withoutVariables(last)).toEqual(withoutVariables(JSON.parse(shown)));
  }
});

/** Without what differs between two runs. */
function withoutVariables({ article }: { article: Record<string, unknown> & { author: object } }): object {
  return {
    ...article,
    slug: "",
    createdAt: "",
    publishedAt: "",
    updatedAt: "",
    author: { ...article.author, username: "" },
  };
}

test("the README's table has every route of the API, and no other", () => {
  const table = /## The API at a glance\n(.*?)\n## /s.exec(readme)?.[1] ?? "";
  const routes = [...table.matchAll(/`((?:GET|POST|PUT|DELETE) \/[^`]*)`/g)].map(([, route]) => route);
  expect(routes.sort()).toEqual(apiRoutes().sort());
});

/** Not measured: each is rare, or limited by the hashing of passwords or by mail. */
const NOT_MEASURED = [
  "POST /api/users",
  "POST /api/users/login",
  "PUT /api/user",
  "DELETE /api/articles/:slug/comments/:id",
  "GET /api/articles/:slug/revisions",
  "GET /api/articles/:slug/revisions/:number",
  "GET /api/articles/:slug/revisions/:number/diff",
  "POST /api/articles/:slug/revisions/:number/restore",
  "GET /health",
  "GET /health/live",
  "GET /health/ready",
  "POST /api/auth/refresh",
  "POST /api/auth/logout",
  "GET /api/auth/sessions",
  "DELETE /api/auth/sessions",
  "DELETE /api/auth/sessions/:id",
  "GET /api/auth/verify-email",
  "POST /api/auth/verify-email",
  "POST /api/auth/resend-verification",
  "POST /api/auth/forgot-password",
  "POST /api/auth/reset-password",
  "POST /api/auth/undo-email-change",
];

test("the bench measures every route of the API, except for a fixed list", () => {
  const sample = {
    articles: 100,
    popularTag: "t",
    rareTag: "t",
    prolificAuthor: "a",
    keenReader: "a",
    popular: ["s"],
    discussed: "s",
    authors: ["a"],
    tags: ["t"],
    body: "b",
  };
  const routes = apiRoutes().map((route) => {
    const [method, path = ""] = route.split(" ");
    // A literal path precedes a parameter, as in Hono.
    return {
      route,
      method,
      pattern: new RegExp(`^${path.split(/:\w+/).map(RegExp.escape).join("[^/]+")}$`),
      parameters: path.split(":").length,
    };
  });
  routes.sort((a, b) => a.parameters - b.parameters);
  const measured = new Set<string>();
  for (const endpoint of ENDPOINTS) {
    for (const { method, path } of endpoint.calls(sample as Parameters<typeof endpoint.calls>[0], "n")) {
      const { pathname } = new URL(path, "http://localhost");
      const route = routes.find((known) => known.method === method && known.pattern.test(pathname))?.route;
      if (route !== undefined) measured.add(route);
    }
  }
  expect([...measured, ...NOT_MEASURED].sort()).toEqual(apiRoutes().sort());
});
