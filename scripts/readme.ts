// Writes the README's table of settings from src/config.ts.
import { dirname, join } from "node:path";
import { SETTINGS } from "../src/config/settings.ts";

const BEGIN = "<!-- settings: npm run format writes this table from src/config.ts -->\n";
const END = "<!-- /settings -->";

/** The table of all settings in Markdown. */
export function settingsTable(): string {
  const rows = Object.values(SETTINGS).map((setting) => {
    const flag = "flag" in setting ? `\`--${setting.flag}\`` : "";
    const fallback = "fallback" in setting ? `\`${setting.fallback}\`` : "";
    return `| \`${setting.name}\` | ${flag} | ${fallback} | ${setting.what.replaceAll("|", "\\|")} |\n`;
  });
  return `\n| Variable | Flag | Default | |\n| --- | --- | --- | --- |\n${rows.join("")}\n`;
}

/** The README with the table as it should be. */
export function withSettingsTable(readme: string): string {
  const begin = readme.indexOf(BEGIN) + BEGIN.length;
  const end = readme.indexOf(END);
  if (begin < BEGIN.length || end < begin) throw new Error("README.md has lost the marks of its table of settings");
  return readme.slice(0, begin) + settingsTable() + readme.slice(end);
}

if (import.meta.main) {
  const file = join(dirname(import.meta.dir), "README.md");
  await Bun.write(file, withSettingsTable(await Bun.file(file).text()));
}
