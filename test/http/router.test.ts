import { describe, expect, test } from "bun:test";
import { Hono, type MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import { TrieRouter } from "hono/router/trie-router";
import type { Database } from "../../src/db/pool.ts";
import { MapAndPatternRouter, OneHandlerRouter } from "../../src/http/router.ts";
import { testApp } from "../support/harness.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];

test("a route has the handlers that Hono's own router finds for it, in their order, with the same parameters", () => {
  // Creating the application opens no connection.
  const { routes } = testApp({} as Database);
  const own = new MapAndPatternRouter<string>();
  const honos = new TrieRouter<string>();
  for (const [i, { method, path }] of routes.entries()) {
    own.add(method, path, `${i} ${method} ${path}`);
    honos.add(method, path, `${i} ${method} ${path}`);
  }
  // Not ":slug" and "*", for which Hono's returns some handlers twice.
  const fill = (value: string) => routes.map(({ path }) => path.replace(/:\w+/g, value).replace("*", value));
  const paths = new Set(["feed", "live", "login", "a%20b", "constructor", "__proto__"].flatMap(fill));
  let found = 0;
  // Twice, because the first match of a path is kept.
  for (const round of [1, 2]) {
    for (const method of METHODS) {
      for (const path of paths) {
        const expected = matched(honos.match(method, path));
        expect([round, method, path, matched(own.match(method, path))]).toEqual([round, method, path, expected]);
        found += expected.length;
      }
    }
  }
  expect(found).toBeGreaterThan(1_000);
});

/** Both forms of a result: parameters by their values, or by their place in a list of values. */
function matched([handlers, values]: ReturnType<MapAndPatternRouter<string>["match"]>) {
  return handlers.map(([handler, params]) => {
    const named = Object.entries(params).map(([name, value]) => [
      name,
      typeof value === "number" ? values?.[value] : value,
    ]);
    return [handler, Object.fromEntries(named)];
  });
}

describe("the steps of a route", () => {
  const app = (...steps: MiddlewareHandler[]) => {
    const hono = new Hono({ router: new OneHandlerRouter() });
    for (const step of steps) hono.use(step);
    return hono
      .get("/things/:name", (c) => c.text(`thing ${c.req.param("name")}`))
      .get("/things/:name/later", async (c) => {
        await Promise.resolve();
        return c.text(`later ${c.req.param("name")} ${routePath(c)}`);
      })
      .get("/fails", () => {
        throw new Error("failed");
      })
      .onError((error, c) => c.text(error.message, 500))
      .notFound((c) => c.text("not found", 404));
  };
  const textOf = async (hono: Hono, path: string) => (await hono.request(path)).text();

  test("run in order, the later within the earlier, and know the parameters of the path", async () => {
    const order: string[] = [];
    const around =
      (name: string): MiddlewareHandler =>
      async (c, next) => {
        order.push(`before ${name} ${c.req.param("name")}`);
        await next();
        order.push(`after ${name} ${c.res.status}`);
      };
    expect(
      await textOf(
        app(around("a"), (_c, next) => next(), around("b")),
        "/things/tea",
      ),
    ).toBe("thing tea");
    expect(order).toEqual(["before a tea", "before b tea", "after b 200", "after a 200"]);
  });

  test("may replace the response, also one that comes later", async () => {
    const replace: MiddlewareHandler = async (c, next) => {
      await next();
      c.res = new Response(`${await c.res.text()}, replaced`);
    };
    expect(await textOf(app(replace), "/things/tea")).toBe("thing tea, replaced");
    expect(await textOf(app(replace), "/things/tea/later")).toBe("later tea /things/:name/later, replaced");
  });

  test("end with the first that responds", async () => {
    const refuse: MiddlewareHandler = async (c) => c.text("refused", 403);
    expect(await textOf(app(refuse), "/things/tea")).toBe("refused");
  });

  test("that fail, now or later, lead to the response for the error", async () => {
    const failLater: MiddlewareHandler = async (_c, next) => {
      await next();
      throw new Error("failed later");
    };
    const failNow: MiddlewareHandler = () => {
      throw new Error("failed now");
    };
    expect(
      await textOf(
        app((_c, next) => next()),
        "/fails",
      ),
    ).toBe("failed");
    expect(await textOf(app(failLater), "/things/tea")).toBe("failed later");
    expect(
      await textOf(
        app((_c, next) => next(), failNow),
        "/things/tea",
      ),
    ).toBe("failed now");
  });

  test("run also where there is no route", async () => {
    const paths: string[] = [];
    const note: MiddlewareHandler = (c, next) => {
      paths.push(c.req.path);
      return next();
    };
    expect(
      await textOf(
        app(note, (_c, next) => next()),
        "/nothing",
      ),
    ).toBe("not found");
    expect(paths).toEqual(["/nothing"]);
  });
});
