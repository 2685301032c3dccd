// npm run screenshots: pictures of the app's main pages for the README, and the one for link previews, taken in Chromium.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { SEED_PASSWORD } from "../src/seed/seed.ts";
import { launchChromium } from "../test/support/chromium.ts";

const root = join(import.meta.dir, "..");
const folder = join(root, "docs/images");
const PAGES = {
  home: "/",
  article: "/article/the-bread-i-make-on-weekdays",
  profile: "/profile/johndoe",
  editor: "/editor/hello-from-the-demo-account",
};

await mkdir(folder, { recursive: true });
const dataDir = await mkdtemp(join(tmpdir(), "conduit-screenshots-"));
const env = { ...process.env, DATA_DIR: dataDir, PORT: String(await freePort()), LOG_LEVEL: "error" };
const conduit = (command: string) =>
  Bun.spawn([process.execPath, "src/main.ts", command], { cwd: root, env, stdout: "pipe", stderr: "inherit" });
const browser = await launchChromium();
let server: ReturnType<typeof conduit> | undefined;
try {
  if ((await conduit("seed").exited) !== 0) throw new Error("the seed failed");
  server = conduit("serve");
  await untilRunning(server.stdout);
  for (const colorScheme of ["light", "dark"] as const) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await picture(page, "home", colorScheme);
    await signIn(page);
    for (const name of ["article", "profile", "editor"] as const) await picture(page, name, colorScheme);
    await context.close();
  }
  await previewPicture();
} finally {
  await browser.close();
  server?.kill("SIGTERM");
  await server?.exited;
  await rm(dataDir, { recursive: true, force: true });
}

async function freePort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

async function untilRunning(output: ReadableStream<Uint8Array>): Promise<void> {
  let text = "";
  for await (const chunk of output) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("Server is running on ")) return;
  }
  throw new Error("the server did not start");
}

async function signIn(page: Page): Promise<void> {
  await page.goto(addressOf("/login"));
  await page.fill("[name=email]", "demo@conduit.example");
  await page.fill("[name=password]", SEED_PASSWORD);
  await page.click("button[type=submit]");
  await page.waitForURL(addressOf("/"));
}

async function picture(page: Page, name: keyof typeof PAGES, scheme: string): Promise<void> {
  await page.goto(addressOf(PAGES[name]));
  const path = join(folder, `${name}-${scheme}.png`);
  await page.screenshot({ path });
  console.log(path);
}

function addressOf(path: string): string {
  return `http://localhost:${env.PORT}${path}`;
}

/** What link previews show of a page: 1200 × 630. */
async function previewPicture(): Promise<void> {
  const context = await browser.newContext({ viewport: { width: 600, height: 315 }, deviceScaleFactor: 2 });
  const page = await context.newPage();
  await page.setContent(`<style>
    body { display: grid; align-content: center; height: 305px; margin: 0; padding: 0 48px; border-bottom: 10px solid #14713d;
           background: #fffdf9; color: #1c1a17; font-family: "Noto Serif", Georgia, serif; letter-spacing: -0.03em }
    b { color: #14713d; font-size: 30px }
    h1 { margin: 14px 0 0; font-size: 54px; font-weight: 600; line-height: 1.06 }
  </style><b>conduit</b><h1>A place to share<br>what you know.</h1>`);
  await page.screenshot({ path: join(root, "src/web/assets/card.png") });
  await context.close();
}
