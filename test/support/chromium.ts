import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

/** Where Chromium and its relatives usually are. `CHROMIUM` names another one. */
const PROGRAMS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/** Starts the machine's Chromium, without a window. */
export function launchChromium(): Promise<Browser> {
  const program = process.env.CHROMIUM ?? PROGRAMS.find((path) => existsSync(path));
  if (program === undefined) {
    throw new Error("found no Chromium: install one (apt-get install chromium), or set CHROMIUM to its path");
  }
  // Its own sandbox needs rights that containers do not have. The pages are our own.
  return chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
}
