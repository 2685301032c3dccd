import { describe, expect, test } from "bun:test";
import { renderMarkdown } from "../../src/markup/markdown.ts";

describe("Markdown", () => {
  test.each<[string, string, string]>([
    ["headings begin below the title", "# One\n\n###### Six", "<h2>One</h2>\n<h6>Six</h6>\n"],
    ["headings in HTML do too", "<h1>One</h1>", "<h2>One</h2>"],
    [
      "code has the class of its language",
      "```js\na < b\n```",
      '<pre tabindex="0"><code class="language-js">a &lt; b\n</code></pre>\n',
    ],
    ["tables are GFM's", "|a|b|\n|-|-:|\n|1|2|", /<th>a<\/th>\n<th align="right">b<\/th>/.source],
    ["so is strikethrough", "~~no~~", "<p><s>no</s></p>\n"],
    ["tasks have boxes", "- [ ] a\n- [x] b", "<ul>\n<li>☐ a</li>\n<li>☑ b</li>\n</ul>\n"],
    [
      "bare addresses are links",
      "https://example.com/x",
      '<p><a href="https://example.com/x" rel="nofollow ugc">https://example.com/x</a></p>\n',
    ],
    ["names of files are none", "README.md", "<p>README.md</p>\n"],
    ["links give no reputation", "[a](/b)", '<p><a href="/b" rel="nofollow ugc">a</a></p>\n'],
    [
      "a picture alone keeps its place",
      "![x](https://e.org/a.png)",
      '<p class="picture"><img src="https://e.org/a.png" alt="x" loading="lazy" decoding="async" /></p>\n',
    ],
    ["harmless HTML stays", "<kbd>Ctrl</kbd> x<sub>2</sub>", "<p><kbd>Ctrl</kbd> x<sub>2</sub></p>\n"],
  ])("%s", (_, text, html) => {
    if (html.includes("\\/")) expect(renderMarkdown(text)).toMatch(new RegExp(html));
    else expect(renderMarkdown(text)).toBe(html);
  });

  // From the official browser suite, and beyond.
  test.each([
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '<svg onload="alert(1)"></svg>',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<a href="javascript:alert(1)">x</a>',
    '<div onmouseover="alert(1)">x</div>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](javascript:alert(1))",
    '![x](x"onerror="alert(1))',
    '<a href="java\nscript:alert(1)">x</a>',
    '<a href="//evil.example">x</a>',
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<form action=/logout method=post><button>x</button></form>",
    "<input autofocus onfocus=alert(1)>",
    '<p style="position:fixed;inset:0">x</p>',
    '<p class="btn navbar" id=main>x</p>',
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<object data=x></object><embed src=x>",
    '```"onclick="alert(1)\nx\n```',
    "<!-- <script>alert(1)</script> -->",
    "<scr<script>ipt>alert(1)</script>",
  ])("is harmless: %s", (text) => {
    const html = renderMarkdown(`Before\n\n${text}\n\nand ${text} inline\n\nAfter`);
    expect(html).toContain("Before");
    // Nothing but elements and attributes of the list.
    const tags = [...html.matchAll(/<\/?([a-z][a-z0-9]*)((?: [a-z-]+(?:="[^"]*")?)*) ?\/?>/g)];
    expect(html.replace(/<\/?[a-z][a-z0-9]*(?: [a-z-]+(?:="[^"]*")?)* ?\/?>/g, "")).not.toContain("<");
    for (const [, name = "", attributes = ""] of tags) {
      expect("p img a kbd pre code br em strong table tbody tr td".split(" ")).toContain(name);
      for (const [, attribute = "", value = ""] of attributes.matchAll(/ ([a-z-]+)(?:="([^"]*)")?/g)) {
        expect(["href", "src", "alt", "tabindex", "rel", "loading", "decoding", "class", "title"]).toContain(attribute);
        if (attribute === "href" || attribute === "src") expect(value).not.toMatch(/^\s*(?:javascript|data|\/\/)/i);
        if (attribute === "class") expect(value).toMatch(/^(?:picture|language-\S+)$/);
      }
    }
  });

  test("does not grow without bounds by references", () => {
    const text = `[a]: /${"x".repeat(100_000)}\n\n${"[a] ".repeat(10_000)}`;
    expect(renderMarkdown(text).length).toBeLessThan(1_000_000);
  });

  test("has no half of a text that is nested too deeply", () => {
    expect(() => renderMarkdown(`${">".repeat(100)} text`)).toThrow("nested too deeply");
    expect(() => renderMarkdown("1. ".repeat(100))).not.toThrow("RangeError");
  });
});
