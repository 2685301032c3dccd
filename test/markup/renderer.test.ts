import { describe, expect, test } from "bun:test";
import { createRenderer } from "../../src/markup/renderer.ts";

const fill = (piece: string, length: number): string => piece.repeat(Math.ceil(length / piece.length)).slice(0, length);

describe("the renderer", () => {
  test("renders in a worker, and each text once", async () => {
    const renderer = createRenderer();
    const first = renderer.render("*hello*");
    // At the same time, and afterwards.
    expect(renderer.render("*hello*")).toBe(first);
    expect(await first).toBe("<p><em>hello</em></p>\n");
    expect(renderer.render("*hello*")).toBe("<p><em>hello</em></p>\n");
    await renderer.stop();
  });

  // With a deadline that only a parser of quadratic time would miss.
  test.each([
    "[",
    "*",
    "![",
    "[a](",
    "_a ",
    "`",
    "<a ",
    "<div>",
    "~~a ",
    "|",
    "&",
    "http://a.",
    "\\",
    "(",
    "<!--",
    "a\n",
    "**a *b ",
    "[[",
    "[](",
    "\"'",
    "# ",
    "<?",
    "<a href='",
    "](x)",
    "[a]: <b>\n",
    "https://",
  ])("renders a quarter of a megabyte of %p", async (piece) => {
    const renderer = createRenderer(50_000);
    const html = await renderer.render(fill(piece, 256 * 1024 - 1));
    expect(html).not.toContain('<pre class="plain">');
    expect(await renderer.render("next")).toBe("<p>next</p>\n");
    await renderer.stop();
  });

  // That the deadline comes true shows that the process itself is free.
  test("shows a text that takes too long as it is", async () => {
    const renderer = createRenderer(1);
    const text = `|a|b|\n|-|-|\n${fill("|<b>|`x`|\n", 200_000)}`;
    const html = await renderer.render(text);
    expect(html).toStartWith('<pre class="plain">|a|b|\n|-|-|\n|&lt;b&gt;|');
    await renderer.stop();
    const patient = createRenderer(50_000);
    expect(await patient.render(text)).toContain("<table ");
    await patient.stop();
  });

  test("shows a text that is nested too deeply, or too long, as it is", async () => {
    const renderer = createRenderer();
    expect(await renderer.render(`${">".repeat(100)} text`)).toContain("&gt; text</pre>");
    expect(await renderer.render(fill("*a* ", 300_000))).toStartWith('<pre class="plain">*a* ');
    await renderer.stop();
  });

  test("renders short texts before long ones that came first", async () => {
    const renderer = createRenderer();
    const finished: string[] = [];
    const long = `|a|b|\n|-|-|\n${fill("|c|d|\n", 100_000)}`;
    await renderer.render("ready");
    await Promise.all(
      (
        [
          [`${long} `, "busy"],
          [long, "long"],
          ["short", "short"],
        ] as const
      ).map(async ([text, name]) => {
        await renderer.render(text);
        finished.push(name);
      }),
    );
    expect(finished).toEqual(["busy", "short", "long"]);
    await renderer.stop();
  });
});
