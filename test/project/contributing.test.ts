import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { testPostgres } from "../support/harness.ts";
import { databaseUrl } from "../support/serve.ts";

const root = join(import.meta.dir, "../..");
const COPIED = ["src", "migrations", "test/support", "packages", "package.json", "tsconfig.json", "bunfig.toml"];

let copy: string;
beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "conduit-contributing-"));
  const filter = (path: string) => !path.endsWith("/node_modules");
  for (const path of COPIED) await cp(join(root, path), join(copy, path), { recursive: true, filter });
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
});
afterAll(() => rm(copy, { recursive: true, force: true }));

test("the walkthroughs in CONTRIBUTING.md apply to the project, compile, and pass their tests", async () => {
  const page = await Bun.file(join(root, "CONTRIBUTING.md")).text();
  const numbers = readdirSync(join(root, "migrations")).flatMap((file) =>
    file.endsWith(".sql") ? [parseInt(file, 10)] : [],
  );
  const next = Math.max(...numbers) + 1;
  const blocks = page.replaceAll("NNNN", String(next).padStart(4, "0")).matchAll(/```(\w+) (\S+)\n(.*?)```/gs);
  const tests: string[] = [];
  for (const [, language, path = "", text = ""] of blocks) {
    const file = join(copy, path);
    if (language === "diff") {
      await Bun.write(file, patched(await Bun.file(file).text(), text));
    } else {
      expect([path, existsSync(file)]).toEqual([path, false]);
      await mkdir(dirname(file), { recursive: true });
      await Bun.write(file, text);
    }
    if (path.endsWith(".test.ts")) tests.push(path);
  }
  expect(tests).toHaveLength(3);

  // The source and the three tests alone, as the other tests are the same as in the project.
  const include = ["src", "migrations", "packages/**/*.d.ts", ...tests];
  await Bun.write(join(copy, "tsconfig.walkthrough.json"), JSON.stringify({ extends: "./tsconfig.json", include }));
  const commands = [
    [join(root, "node_modules/.bin/tsc"), "--noEmit", "-p", "tsconfig.walkthrough.json"],
    [process.execPath, "test", "--timeout=60000", ...tests.map((path) => `./${path}`)],
  ];
  // The PostgreSQL of this run serves the inner one too.
  const env = {
    ...process.env,
    TEST_POSTGRES: undefined,
    TEST_DATABASE_URL: databaseUrl((await testPostgres()).admin),
  };
  const results = commands.map(async (command) => {
    const child = Bun.spawn(command, { cwd: copy, env, stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    const status = await child.exited;
    return status === 0 ? "" : out + err;
  });
  expect(await Promise.all(results)).toEqual(["", ""]);
}, 60_000);

/** Applies hunks without line numbers, separated by `@@`. The last line may be the start of a line in the file. */
function patched(source: string, diff: string): string {
  let result = source;
  for (const hunk of diff.split("@@\n")) {
    const lines = hunk.replace(/\n$/, "").split("\n");
    const withPrefix = (...prefixes: string[]) =>
      lines
        .filter((line) => prefixes.includes(line[0] ?? " "))
        .map((line) => line.slice(1))
        .join("\n");
    const before = withPrefix(" ", "-");
    expect([before, result.split(before).length - 1]).toEqual([before, 1]);
    result = result.replace(before, () => withPrefix(" ", "+"));
  }
  return result;
}
