import { expect, test } from "bun:test";
import { dirname, join } from "node:path";
import { withSettingsTable } from "../../scripts/readme.ts";
import { testServer } from "../support/harness.ts";

test("the README's table of settings is the one of config.ts (npm run format writes it)", async () => {
  const readme = await Bun.file(join(dirname(dirname(import.meta.dir)), "README.md")).text();
  expect(readme).toBe(withSettingsTable(readme));
});

test("the README's curl lines work", async () => {
  const readme = await Bun.file(join(dirname(dirname(import.meta.dir)), "README.md")).text();
  const [, lines] = /## The API at a glance\s+```sh\n(.*?)```/s.exec(readme) ?? [];
  const server = await testServer();
  const script = `set -eo pipefail\ncurl() { command curl -sS --fail-with-body "$@"; echo; }\n${lines?.replaceAll("http://localhost:3000", server.url)}`;
  const shell = Bun.spawn(["bash", "-c", script], { stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([shell.stdout.text(), shell.stderr.text()]);
  expect({ exit: await shell.exited, err }).toEqual({ exit: 0, err: "" });
  expect(out).toContain('"favoritesCount":1');
  expect(out).toContain("Well said.");
});
