import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launchChromium } from "../support/chromium.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";

let server: TestServer;
let browser: Browser;
let people = 0;
beforeAll(async () => {
  server = await testServer();
  browser = await launchChromium();
}, 60_000);
afterAll(() => browser?.close());

async function signIn(page: Page, { email, password }: TestUser): Promise<void> {
  await page.goto(`${server.url}/login`);
  await page.fill("[name=email]", email);
  await page.fill("[name=password]", password);
  await page.click("button[type=submit]");
  await page.waitForURL(`${server.url}/`);
}

/** A page that must not report any error, such as a violation of the content security policy. */
async function open(options: Parameters<Browser["newContext"]>[0]): Promise<{ page: Page; context: BrowserContext }> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("dialog", (dialog) => {
    throw new Error(`a dialog: ${dialog.message()}`);
  });
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("the server responded with a status of 4")) {
      throw new Error(message.text());
    }
  });
  return { page, context };
}

const url = (path: string): string => server.url + path;
const path = (page: Page): string => page.url().slice(server.url.length);

for (const width of [1280, 375]) {
  for (const javaScriptEnabled of [true, false]) {
    describe(`at ${width} px, ${javaScriptEnabled ? "with" : "without"} JavaScript`, () => {
      const options = { viewport: { width, height: 800 }, javaScriptEnabled };

      test("somebody signs up, writes, changes and deletes an article", async () => {
        const { page, context } = await open(options);
        const name = `writer-${++people}`;
        await page.goto(url("/"));
        await page.click("text=Sign up");
        await page.fill("[name=username]", name);
        await page.fill("[name=email]", `${name}@example.com`);
        await page.fill("[name=password]", "short");
        await page.evaluate("document.querySelector('[name=password]').minLength = 0");
        await page.click("button[type=submit]");
        expect(await page.textContent(".error-messages")).toContain("The password is too short");
        await page.fill("[name=password]", "long enough");
        await page.click("button[type=submit]");
        expect(path(page)).toBe("/");

        await page.click("text=Write");
        await page.fill("[name=title]", `Title by ${name}`);
        await page.fill("[name=description]", "A description");
        await page.fill("[name=body]", "First\n\n```js\nlet x = 1;\n```");
        for (const tag of ["tea", "milk", "sugar"]) {
          await page.fill("[name=tag]", tag);
          await page.press("[name=tag]", "Enter");
        }
        expect(await page.locator(".tag-pill").allTextContents()).toEqual(["tea", "milk", "sugar"]);
        await page.click(".tag-pill:has-text('milk') i");
        expect(await page.locator(".tag-pill").allTextContents()).toEqual(["tea", "sugar"]);
        await page.click("text=Preview");
        expect(await page.locator(".preview code").textContent()).toBe("let x = 1;\n");
        await page.fill("[name=tag]", "late");
        await page.click("text=Publish Article");
        expect(path(page)).toBe(`/article/title-by-${name}`);
        expect(await page.locator(".tag-default").allTextContents()).toEqual(["tea", "sugar", "late"]);

        await page.click("text=Edit Article");
        await page.fill("[name=title]", `Better by ${name}`);
        await page.click("text=Publish Article");
        expect(path(page)).toBe(`/article/better-by-${name}`);
        expect(await page.textContent("h1")).toBe(`Better by ${name}`);
        await page.click("text=Delete Article");
        expect(path(page)).toBe("/");
        expect(await page.locator(`text=Better by ${name}`).count()).toBe(0);

        await page.click("text=Settings");
        await page.click("text=Or click here to logout");
        expect(path(page)).toBe("/");
        expect(await page.locator(".nav-user").count()).toBe(0);
        await context.close();
      }, 60_000);

      test("a reader favorites, follows, comments, and finds it all again", async () => {
        const [author, reader] = [
          await server.register(`author-${++people}`),
          await server.register(`reader-${people}`),
        ];
        const articles = [];
        for (let i = 1; i <= 12; i++) {
          articles.push(await server.publish(author, { title: `Story ${i} of ${people}`, tagList: [`tag-${people}`] }));
        }
        const { page, context } = await open(options);
        // An anonymous reader is led to the sign-in page and back.
        await page.goto(url(`/article/${articles[11]?.slug}`));
        await page.click("text=Sign in >> nth=-1");
        await page.fill("[name=email]", reader.email);
        await page.fill("[name=password]", reader.password);
        await page.click("button[type=submit]");
        expect(path(page)).toBe(`/article/${articles[11]?.slug}`);

        await page.click("button:has-text('Favorite')");
        expect(await page.textContent("button.btn-primary:has-text('Unfavorite')")).toContain("1");
        await page.click("button:has-text('Follow')");
        expect(await page.locator("button:has-text('Unfollow')").count()).toBe(1);
        await page.fill("textarea", "Two\nlines & <b>");
        await page.click("text=Post Comment");
        expect(await page.textContent(".card-text")).toBe("Two\nlines & <b>");
        expect(await page.inputValue("textarea")).toBe("");

        await page.click(".navbar-brand");
        await page.click("text=Your Feed");
        expect(await page.locator(".article-preview").count()).toBe(10);
        await page.click(".page-link:has-text('2')");
        expect(path(page)).toBe("/?feed=following&page=2");
        expect(await page.locator(".article-preview").count()).toBe(2);
        await page.locator(".article-preview button").last().click();
        expect(path(page)).toBe("/?feed=following&page=2");
        await page.goto(url(`/tag/tag-${people}`));
        expect(await page.textContent(".feed-toggle .active")).toBe(`tag-${people}`);

        await page.click(".nav-user");
        await page.click("text=Favorited Articles");
        expect(await page.locator(".article-preview").count()).toBe(2);
        await page.goto(url(`/article/${articles[11]?.slug}`));
        await page.click(".mod-options i");
        expect(await page.locator(".card-text").count()).toBe(0);
        await context.close();
      }, 60_000);

      test("the keyboard is enough", async () => {
        const author = await server.register(`typist-${++people}`);
        const { page, context } = await open(options);
        await signIn(page, author);
        await page.keyboard.press("Tab");
        expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to content");
        await page.keyboard.press("Enter");
        await page.goto(url("/editor"));
        await page.focus("[name=title]");
        for (const text of [`Typed ${people}`, "All of it", "Without a mouse"]) {
          await page.keyboard.type(text);
          await page.keyboard.press("Tab");
        }
        await page.keyboard.type("keys");
        await page.keyboard.press("Enter");
        await page.locator(".tag-pill").waitFor();
        expect(await page.locator(".tag-pill").allTextContents()).toEqual(["keys"]);
        expect(await page.evaluate("document.activeElement.name")).toBe("tag");
        await page.focus("text=Publish Article");
        await page.keyboard.press("Enter");
        await page.waitForURL(url(`/article/typed-${people}`));
        expect(await page.locator(".article-content p").allTextContents()).toEqual(["Without a mouse"]);
        await context.close();
      }, 60_000);
    });
  }
}

test("what somebody wrote never runs", async () => {
  const author = await server.register("attacker");
  const image = `https://127.0.0.1:1/a.png"onerror="alert(1)`;
  await server.request("PUT", "/api/user", {
    token: author.token,
    body: { user: { image, bio: "<script>alert(1)</script>" } },
  });
  const payloads = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '<svg onload="alert(1)">',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<a href="javascript:alert(1)">click</a> [click](javascript:alert(1))',
    '<div onmouseover="alert(1)">hover</div>',
  ];
  const { slug } = await server.publish(author, {
    title: "Payloads <script>alert(1)</script>",
    description: payloads.join(" "),
    body: payloads.join("\n\n"),
    tagList: ["<b>"],
  });
  for (const body of payloads) {
    const path = `/api/articles/${slug}/comments`;
    await server.request("POST", path, { token: author.token, body: { comment: { body } } });
  }
  const context = await browser.newContext();
  const page = await context.newPage();
  const dialogs: string[] = [];
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  await signIn(page, author);
  for (const path of ["/", `/article/${slug}`, "/profile/attacker", `/editor/${slug}`, "/settings"]) {
    await page.goto(url(path));
    expect(await page.locator("[onerror], [onload], [onmouseover], [onclick], iframe, main script").count()).toBe(0);
    for (const link of await page.locator(".article-content a").all()) await link.hover();
  }
  expect(dialogs).toEqual([]);
  await context.close();
}, 60_000);
