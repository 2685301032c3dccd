import { expect, test } from "bun:test";
import { TrieRouter } from "hono/router/trie-router";
import type { Database } from "../../src/db/pool.ts";
import { MapAndPatternRouter } from "../../src/http/router.ts";
import { testApp } from "../support/harness.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];

test("the router finds the handlers that Hono's own finds, in their order, with the same parameters", () => {
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
