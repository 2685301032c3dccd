import { expect, test } from "bun:test";
import { Hono } from "hono";
import { z } from "zod";
import { cursorOf, linkNextPage, position } from "../../src/http/cursor.ts";
import type { RequestVariables } from "../../src/http/exchange.ts";

const cursors = cursorOf("things", { rank: z.int(), at: position.time, id: position.id });
const thing = { rank: 5, at: "2026-01-31T12:34:56.789Z", id: "9223372036854775807" };
const encoded = (...values: unknown[]) => Buffer.from(JSON.stringify(values)).toString("base64url");

test("a cursor holds its position exactly", () => {
  for (const one of [thing, { rank: -1, at: "1970-01-01T00:00:00.000Z", id: "1" }]) {
    const text = cursors.after(one);
    expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(cursors.parameter.parse(text)).toEqual(one);
  }
  expect(cursors.parameter.parse(undefined)).toBeUndefined();
});

test("anything else is invalid: another list, another version, values that PostgreSQL would not take", () => {
  const at = Date.parse(thing.at);
  expect(cursors.parameter.parse(encoded(1, "things", 5, at, "1"))).toEqual({ ...thing, id: "1" });
  for (const text of [
    "",
    "*",
    "null",
    encoded(),
    encoded(2, "things", 5, at, "1"),
    encoded(1, "others", 5, at, "1"),
    encoded(1, "things", 5, at),
    encoded(1, "things", 5, at, "1", "more"),
    encoded(1, "things", "5", at, "1"),
    encoded(1, "things", 5, at + 0.5, "1"),
    encoded(1, "things", 5, -1, "1"),
    encoded(1, "things", 5, 253_402_300_800_000, "1"),
    encoded(1, "things", 5, thing.at, "1"),
    encoded(1, "things", 5, at, 1),
    encoded(1, "things", 5, at, "0"),
    encoded(1, "things", 5, at, "01"),
    encoded(1, "things", 5, at, "9223372036854775808"),
    encoded(1, "things", 5, at, "1").slice(0, -3),
    `${encoded(1, "things", 5, at, "1")}=`,
    `${encoded(1, "things", 5, at, "1")}${"A".repeat(600)}`,
  ]) {
    const result = cursors.parameter.safeParse(text);
    expect([text, result.success, result.error?.issues[0]?.message]).toEqual([text, false, "is invalid"]);
  }
});

test("the link to the next page keeps all other parameters", async () => {
  const app = new Hono<{ Variables: RequestVariables }>().get("/things", (c) => {
    // Set by the application where BASE_URL has a path.
    if (c.req.query("base") !== undefined) c.set("basePath", "/blog");
    linkNextPage(c, c.req.query("last") === undefined ? "abc" : null);
    return c.text("");
  });
  const linkOf = async (url: string) => (await app.request(url)).headers.get("Link");
  const query = "?tag=a%20b%26%C3%A9&cursor=old&offset=20&limit=5&limit=6";
  expect(await linkOf(`http://example.com/things${query}`)).toBe(
    '</things?tag=a+b%26%C3%A9&cursor=abc&limit=5&limit=6>; rel="next"',
  );
  expect(await linkOf("http://example.com/things")).toBe('</things?cursor=abc>; rel="next"');
  expect(await linkOf("http://example.com/things?base=1")).toBe('</blog/things?base=1&cursor=abc>; rel="next"');
  expect(await linkOf("http://example.com/things?last=1")).toBeNull();
});
