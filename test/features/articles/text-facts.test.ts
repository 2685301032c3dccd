import { beforeAll, expect, test } from "bun:test";
import { textFacts } from "../../../src/features/articles/text-facts.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});

test("words are what is between spaces, without the marks of Markdown", () => {
  const count = (body: string) => textFacts(body).wordCount;
  expect(count("# A title\n\n- one\n- **two**\n\n---\n\n> three & four")).toBe(6);
  expect(count("don't re-read [the docs](https://example.com/a-b)")).toBe(4);
  expect(count("Привет, мир! 안녕하세요 세계")).toBe(4);
  expect(count("— * #")).toBe(0);
});

test("each Chinese or Japanese character is a word", () => {
  expect(textFacts("你好，世界").wordCount).toBe(4);
  expect(textFacts("Bun で書く").wordCount).toBe(4);
});

test("the reading time is in minutes, rounded up, and at least one", () => {
  const minutes = (body: string) => textFacts(body).readingTime;
  expect([minutes("a"), minutes("a ".repeat(230)), minutes("a ".repeat(231)), minutes("a ".repeat(2_300))]).toEqual([
    1, 1, 2, 10,
  ]);
  expect([minutes("字".repeat(400)), minutes("字".repeat(401))]).toEqual([1, 2]);
});

test("the excerpt is plain text from the paragraphs", () => {
  const excerpt = (body: string) => textFacts(body).excerpt;
  const body =
    "# Title\n\nSome *text* with `code`, [a link](/x) &amp; <b>HTML</b>\non two lines.\n\n```\ncode\n```\n\n> quoted";
  expect(excerpt(body)).toBe("Some text with code, a link & HTML on two lines. quoted");
  expect(excerpt("## Only a title")).toBe("");
  expect(excerpt("a\u202eb\u0007c")).toBe("a b c");
});

test("an excerpt is cut at the end of a word, to at most 200 characters", () => {
  const { excerpt } = textFacts("several words ".repeat(100));
  expect(excerpt).toMatch(/ (words|several)…$/);
  expect(excerpt.length).toBeLessThanOrEqual(200);
  expect([...textFacts("😀".repeat(900)).excerpt].length).toBe(200);
  // Half of the last character is beyond what is read.
  expect(textFacts(`${" ".repeat(999)}😀`).excerpt.isWellFormed()).toBe(true);
});

test("an article and every list have the facts, which follow an edit of the body", async () => {
  const { slug, ...published } = await server.publish(anna, { body: "字".repeat(500), tagList: ["facts"] });
  expect([published.wordCount, published.readingTime, published.excerpt.length]).toEqual([500, 2, 200]);
  const edit = (article: object) =>
    server.request("PUT", `/api/articles/${slug}`, { token: anna.token, body: { article } });
  expect((await edit({ title: "A title" })).json.article).toMatchObject({ wordCount: 500, readingTime: 2 });
  const facts = { wordCount: 3, readingTime: 1, excerpt: "Three short words" };
  expect((await edit({ body: "*Three* short words" })).json.article).toMatchObject(facts);
  for (const path of ["?tag=facts", "?author=anna", ""]) {
    expect((await server.request("GET", `/api/articles${path}`)).json.articles[0]).toMatchObject(facts);
  }
});
