import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { indexNext } from "../../src/features/articles/search/indexing.ts";
import { openMailbox } from "../../src/mail/mailbox.ts";
import { SEED_PASSWORD, seed } from "../../src/seed/seed.ts";
import { launchChromium } from "../support/chromium.ts";
import { type TestServer, testServer } from "../support/harness.ts";

const AXE = readFileSync(Bun.resolveSync("axe-core/axe.min.js", import.meta.dir), "utf8");

let server: TestServer;
let browser: Browser;
beforeAll(async () => {
  server = await testServer({ mailbox: openMailbox("unused") });
  await seed(server.address, undefined, () => {}, server.url);
  while ((await indexNext(server.db)) > 0);
  browser = await launchChromium();
}, 60_000);
afterAll(() => browser?.close());

const ANONYMOUS = [
  "/",
  "/?page=2",
  "/tag/cooking",
  "/article/the-bread-i-make-on-weekdays",
  "/profile/johndoe",
  "/profile/johndoe/favorites",
  "/search",
  "/search?q=bread+-yeast&tag=cooking",
  "/search?q=nothing+matches+this",
  `/search?q=${"x".repeat(201)}`,
  "/login",
  "/register",
  "/forgot-password",
  "/reset-password?token=x",
  "/nowhere",
];
const SIGNED_IN = [
  "/",
  "/?feed=following",
  "/article/hello-from-the-demo-account",
  "/profile/demo",
  "/editor",
  "/editor/hello-from-the-demo-account",
  "/settings",
];

type Violation = { id: string; nodes: { html: string; failureSummary: string }[] };

/** What axe-core finds on the page that is shown. */
async function violations(page: Page): Promise<string[]> {
  // Not by a script element, which the content security policy forbids.
  await page.evaluate(AXE);
  const found = (await page.evaluate("axe.run().then(({ violations }) => violations)")) as Violation[];
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
}

async function signIn(page: Page): Promise<void> {
  await page.goto(`${server.url}/login`);
  await page.fill("[name=email]", "demo@conduit.example");
  await page.fill("[name=password]", SEED_PASSWORD);
  await page.click("button[type=submit]");
  await page.waitForURL(`${server.url}/`);
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [1280, 375]) {
    test(`axe-core finds nothing on any page, ${colorScheme}, at ${width} px, and nothing overflows`, async () => {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 } });
      const page = await context.newPage();
      const check = async (path: string) => {
        await page.goto(server.url + path);
        expect([path, await violations(page)]).toEqual([path, []]);
        const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        expect([path, Number(overflow) <= 0]).toEqual([path, true]);
      };
      for (const path of ANONYMOUS) await check(path);
      await signIn(page);
      for (const path of SIGNED_IN) await check(path);

      // Forms with problems, and the preview.
      await page.goto(`${server.url}/editor`);
      await page.fill("[name=title]", "A title");
      await page.fill("[name=body]", "# Heading\n\n|a|b|\n|-|-|\n|1|2|\n\n```js\ncode\n```\n\n> quote");
      await page.fill("[name=tag]", "tea");
      await page.press("[name=tag]", "Enter");
      await page.click("text=Preview");
      expect(await violations(page)).toEqual([]);
      await page.goto(`${server.url}/settings`);
      await page.fill("[name=username]", "ana-petrova");
      await page.click("text=Update Settings");
      expect(await page.textContent(".error-messages")).toContain("already been taken");
      expect(await violations(page)).toEqual([]);
      await context.close();
    }, 120_000);
  }
}

test("no page moves when its pictures arrive, and everything fits 320 px", async () => {
  const context = await browser.newContext({ viewport: { width: 320, height: 640 } });
  const page = await context.newPage();
  for (const path of ANONYMOUS) {
    await page.goto(server.url + path, { waitUntil: "load" });
    const shift = await page.evaluate(`new Promise((resolve) => {
      let shift = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) shift += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve(shift), 100);
    })`);
    expect([path, shift]).toEqual([path, 0]);
    const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
    expect([path, Number(overflow) <= 0]).toEqual([path, true]);
  }
  await context.close();
}, 60_000);
