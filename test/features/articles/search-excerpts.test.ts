import { describe, expect, test } from "bun:test";
import { excerptOf } from "../../../src/features/articles/search/excerpts.ts";
import { wordsOf } from "../../../src/features/articles/search/words.ts";

/** The excerpt of a body for these words, in which the matches are in brackets. */
function excerpt(body: string, ...words: string[]): string | null {
  const ranges = wordsOf(body).filter(({ word }) => words.includes(word));
  const found = excerptOf(body, ranges);
  if (found === null) return null;
  expect(found.text.length).toBeLessThanOrEqual(240);
  expect(found.text.isWellFormed()).toBe(true);
  let shown = "";
  let place = 0;
  for (const { start, end } of found.ranges) {
    shown += `${found.text.slice(place, start)}[${found.text.slice(start, end)}]`;
    place = end;
  }
  return shown + found.text.slice(place);
}

describe("an excerpt of a search is plain text:", () => {
  test.each<[string, string, string]>([
    ["emphasis", "Feed **the tea** and *the* ~~tea~~ __tea__", "Feed the [tea] and the [tea] [tea]"],
    ["marks within a word", "A **te**a, **tea**pot and t*ea*", "A tea, [tea]pot and tea"],
    ["a mark that begins before and ends after", "It **is tea, and** more", "It is [tea], and more"],
    ["links", '[Green tea](https://tea.example/a?b=tea "tea") <https://x.example>', "Green [tea] https://x.example"],
    ["pictures", "![A cup of *tea*](/tea.png)\n\nBelow it", "A cup of [tea] Below it"],
    ["headings, lists and quotes", "# On tea\n\n- one\n- two\n\n> three\n\nFour\n====", "On [tea] one two three Four"],
    ["numbered lists", "1. tea\n2) two", "[tea] two"],
    ["tables", "| a | tea |\n|---|:-:|\n| c | d |", "a [tea] c d"],
    ["blocks of code", "```tea\nlet tea = `a`;\n```\n\n    and **tea**", "let [tea] = `a`; and **[tea]**"],
    ["HTML", '<div class="tea">\n<b>tea</b> <!-- tea -->\n</div>', "[tea]"],
    ["scripts", "<script>alert('tea')</script>", "alert('[tea]')"],
    ["entities and escapes", "a &lt; tea &amp; \\*b\\*", "a < [tea] & *b*"],
    ["lines", "a  \ntea\r\nb\\\nc", "a [tea] b c"],
    ["what reorders text", "a\u202etea\u0007b\ufdd0c\ufdd1", "a [tea] b c"],
    ["escapes in an address", "<https://a.example/%EF%B7%90> one tea", "https://a.example/%EF%B7%90 one [tea]"],
    ["text without marks", "Just tea,\nno more", "Just [tea], no more"],
  ])("%s", (_name, body, expected) => {
    expect(excerpt(body, "tea")).toBe(expected);
  });

  test("HTML that is code stays as it is, and what is half a mark, too", () => {
    expect(excerpt("`<script>alert(1)</script>`", "alert")).toBe("<script>[alert](1)</script>");
    for (const body of ["**tea", "tea`` `", "[tea](", "<a tea", "![tea", "tea](/x)", "&tea;", "<tea>"]) {
      expect(excerpt(body, "tea")).toBe(body.replace("tea", "[tea]"));
    }
  });

  test("what is matched in an address alone is not shown", () => {
    expect(excerpt("Read [this](https://tea.example), please", "tea")).toBe("Read this, please");
    expect(excerpt("[tea]: https://tea.example", "tea")).toBeNull();
  });

  test("names with signs, and characters without spaces between them, are marked", () => {
    expect(excerpt("**C++** and _C#_", "cplusplus", "csharp")).toBe("[C++] and [C#]");
    expect(excerpt("**全文**搜索", "全", "文")).toBe("[全][文]搜索");
  });
});

describe("an excerpt from deep in a body", () => {
  const SENTENCE = "Some *other* words. ";

  test("begins at a word shortly before the match, and has no half of a mark before it", () => {
    const body = `${SENTENCE.repeat(300)}**See [this *page*](https://a.example/b) on tea** ${SENTENCE.repeat(300)}`;
    expect(excerpt(body, "tea")).toMatch(
      /^words\. (Some other words\. )+See this page on \[tea\] (Some other words\. )+/,
    );
  });

  test.each(["```", "~~~"])("knows that it is in a block of code between %s", (fence) => {
    const code = "a * b * c;\n\n".repeat(40);
    const body = `Text\n\n${fence}js\n${code}tea(*p);\n${fence}\n\nThen **text**`;
    expect(excerpt(body, "tea")).toMatch(/^(\* )?(b |c; |a |\* )*\[tea\]\(\*p\); Then text$/);
  });

  test("has the match or is none, whatever thousands of marks are around it", () => {
    for (const mark of ["*", "[", "`", "> ", "<a ", "![[", "](", "**a ", "_", "~~", "- ", "&", "\\"]) {
      const body = `${mark.repeat(5_000)} tea ${mark.repeat(5_000)}`;
      // The parser leaves out what is nested too deeply.
      if (["> ", "- "].includes(mark)) expect(excerpt(body, "tea")).toBeNull();
      else expect(excerpt(body, "tea")).toContain("[tea]");
    }
  });
});
