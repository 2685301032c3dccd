import { expect, test } from "bun:test";
import { SETTINGS_FILE, withSettingsTable } from "../../scripts/settings.ts";

test("docs/operations/settings.md has the settings of settings.ts (npm run format writes them)", async () => {
  const page = await Bun.file(SETTINGS_FILE).text();
  expect(page).toBe(withSettingsTable(page));
});
