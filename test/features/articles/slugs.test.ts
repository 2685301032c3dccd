import { beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { slugBase, slugWithSuffix } from "../../../src/features/articles/rules.ts";
import { changesDirection, isBlank } from "../../../src/http/characters.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { SEED } from "../../support/random.ts";

/** What every path is: lower-case ASCII words joined by single hyphens, so that nothing in a URL has to be escaped. */
const FORM = /^[a-z0-9]+(-[a-z0-9]+)*$/;

/** Any string a title can be, and many that it cannot: all of Unicode, single scripts, punctuation, long, repeated. */
const anyTitle = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme", maxLength: 255 }),
  fc.string({ unit: fc.constantFrom(..."-_.~!*'();:@&=+$,/?#[]%\"<>{}|\\^` \t\n\0\u200b\u202e"), maxLength: 40 }),
  fc.string({
    unit: fc.constantFrom(..."àéîõüßæœøłżğıİñçÅΩλпривет你好世界こんにちは안녕مرحبאבג🎉👩‍👩‍👧ﬁⅣ½"),
    maxLength: 255,
  }),
  fc.tuple(fc.string({ unit: "binary", minLength: 1, maxLength: 4 }), fc.nat(255)).map(([s, n]) => s.repeat(n)),
);

describe(`a slug made from a title (TEST_SEED=${SEED})`, () => {
  test("is a valid path segment of 1 to 100 characters for every title", () => {
    fc.assert(
      fc.property(anyTitle, (title) => {
        const slug = slugBase(title);
        expect(slug).toMatch(FORM);
        expect(slug.length).toBeLessThanOrEqual(100);
        expect(encodeURIComponent(slug)).toBe(slug);
        // The same title, the same path; a path as a title is itself.
        expect(slugBase(title)).toBe(slug);
        expect(slugBase(slug)).toBe(slug);
      }),
      { numRuns: 2_000, seed: SEED },
    );
  });

  test("is valid with a suffix too, and has at most 120 characters", () => {
    fc.assert(
      fc.property(anyTitle, (title) => {
        const base = slugBase(title);
        const slug = slugWithSuffix(base);
        expect(slug).toMatch(FORM);
        expect(slug.length).toBeLessThanOrEqual(120);
        expect(slug).not.toBe(slugWithSuffix(base));
        expect(slug.slice(0, -8)).toBe(`${base}-`);
      }),
      { numRuns: 500, seed: SEED },
    );
  });

  test("keeps every letter and digit of an ASCII title, in order", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[ -~]{0,100}$/), (title) => {
        const kept = title.toLowerCase().replace(/[^a-z0-9]/g, "");
        expect(slugBase(title).replaceAll("-", "")).toBe(kept === "" ? "article" : kept);
      }),
      { numRuns: 500, seed: SEED },
    );
  });
});

describe("a slug is readable", () => {
  const titles: Record<string, [title: string, slug: string]> = {
    English: ["How to train your dragon!", "how-to-train-your-dragon"],
    "an apostrophe": ["Don't panic", "dont-panic"],
    German: ["Über große Öfen & süße Äpfel", "uber-grosse-ofen-susse-apfel"],
    French: ["À l'été, cœur brisé", "a-lete-coeur-brise"],
    Polish: ["Zażółć gęślą jaźń", "zazolc-gesla-jazn"],
    Vietnamese: ["Tiếng Việt", "tieng-viet"],
    Turkish: ["İstanbul'da ığdır", "istanbulda-igdir"],
    Russian: ["Привет, мир", "privet-mir"],
    Greek: ["Καλημέρα κόσμε", "kalimera-kosme"],
    "decomposed letters": ["E\u0301te\u0301", "ete"],
    "full-width letters": ["Ｈｅｌｌｏ　Ｗｏｒｌｄ", "hello-world"],
    numbers: ["10 + 2 = 12.0", "10-2-12-0"],
    HTML: ["<script>alert(1)</script>", "script-alert-1-script"],
  };
  for (const [what, [title, slug]] of Object.entries(titles)) {
    test(`for a title in or with ${what}`, () => expect(slugBase(title)).toBe(slug));
  }

  for (const title of [
    "你好，世界",
    "こんにちは世界",
    "안녕하세요 세계",
    "مرحبا بالعالم",
    "שלום עולם",
    "สวัสดีชาวโลก",
    "नमस्ते दुनिया",
    "🎉 🐉",
  ]) {
    test(`for a title in another script: ${title}`, () => {
      const slug = slugBase(title);
      expect(slug).toMatch(FORM);
      // The letters are transliterated, not dropped.
      expect(slug).not.toBe("article");
      expect(slug.length).toBeGreaterThan(3);
    });
  }

  test("for a title without a letter or digit", () => {
    for (const title of ["!!!", "…", "---", "?/#%", "\u200b", "«»"]) expect(slugBase(title)).toMatch(FORM);
    expect(slugBase("!?")).toBe("article");
  });

  test("and ends at the end of a word", () => {
    const slug = slugBase("many words ".repeat(20));
    expect(slug.length).toBeLessThanOrEqual(100);
    expect(slug).toMatch(/^(many-words-)+many(-words)?$/);
    expect(slugBase("x".repeat(255))).toBe("x".repeat(100));
  });
});

describe("over HTTP", () => {
  let server: TestServer;
  let anna: TestUser;
  beforeAll(async () => {
    server = await testServer();
    anna = await server.register("anna");
  });

  test(`every valid title makes an article that is found at its slug (TEST_SEED=${SEED})`, async () => {
    const paths = new Set<string>();
    await fc.assert(
      fc.asyncProperty(anyTitle, async (title) => {
        const body = { article: { title, description: "d", body: "b" } };
        const { status, json } = await server.request("POST", "/api/articles", { token: anna.token, body });
        const isGood =
          !isBlank(title) &&
          !changesDirection(title) &&
          [...title].length <= 255 &&
          title.isWellFormed() &&
          !title.includes("\0");
        expect(status).toBe(isGood ? 201 : 422);
        if (!isGood) return;
        const { slug } = json.article;
        expect(slug).toMatch(FORM);
        expect(slug.length).toBeLessThanOrEqual(120);
        expect(paths).not.toContain(slug);
        paths.add(slug);
        expect(json.article.title).toBe(title);
        expect((await server.request("GET", `/api/articles/${slug}`)).json.article.title).toBe(title);
      }),
      { numRuns: 100, seed: SEED },
    );
    expect(paths.size).toBeGreaterThan(20);
  });
});
