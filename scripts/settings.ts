// npm run format: writes the table in docs/operations/settings.md from src/config/settings.ts.
import { dirname, join } from "node:path";
import { SETTINGS } from "../src/config/settings.ts";

export const SETTINGS_FILE = join(dirname(import.meta.dir), "docs/operations/settings.md");

const BEGIN = "<!-- npm run format writes this table from src/config/settings.ts -->\n";
const END = "<!-- end of the table -->";

/** @returns the page with the table as it should be */
export function withSettingsTable(page: string): string {
  const begin = page.indexOf(BEGIN) + BEGIN.length;
  const end = page.indexOf(END);
  if (begin < BEGIN.length || end < begin) throw new Error("settings.md has no comments around its table");
  return page.slice(0, begin) + settingsTable() + page.slice(end);
}

function settingsTable(): string {
  const rows = Object.values(SETTINGS).map((setting) => {
    const flag = "flag" in setting ? `\`--${setting.flag}\`` : "";
    const fallback = "fallback" in setting ? `\`${setting.fallback}\`` : "";
    return `| \`${setting.name}\` | ${flag} | ${fallback} | ${setting.what.replaceAll("|", "\\|")} |\n`;
  });
  return `\n| Variable | Flag | Default | Description |\n| --- | --- | --- | --- |\n${rows.join("")}\n`;
}

if (import.meta.main) {
  await Bun.write(SETTINGS_FILE, withSettingsTable(await Bun.file(SETTINGS_FILE).text()));
}
