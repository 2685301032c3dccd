import { expect, test } from "bun:test";
import { join } from "node:path";

test("what libraries write to the console becomes lines of the JSON log, without email addresses", async () => {
  const script = `
    import { createLog } from "./src/observability/log.ts";
    import { logConsole } from "./src/observability/console.ts";
    logConsole(createLog("info"));
    for (const method of ["log", "info", "debug", "warn", "error", "trace"]) console[method]("two\\nlines", { row: "secret" });
    console.error("Retried 3 times for ann@example.com:", new Error("gone"));
    process.emitWarning("an old interface");
    process.emitWarning(new Error("another"));`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    cwd: join(import.meta.dir, "../.."),
    env: { PATH: process.env.PATH ?? "" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(err).toBe("");
  const lines = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines).toHaveLength(9);
  for (const line of lines) expect(line).toMatchObject({ level: "warn", msg: "library output" });
  expect(lines[0]).toMatchObject({ "console.method": "log", "console.text": "two\nlines" });
  expect(lines[6]).toMatchObject({ "console.text": "Retried 3 times for …", err: { message: "gone" } });
  expect(lines[7]).toMatchObject({ "console.method": "emitWarning", "console.text": "an old interface" });
  expect(out).not.toContain("secret");
});
