import { expect, test } from "bun:test";
import { join } from "node:path";
import { testServer } from "../support/harness.ts";

const guide = await Bun.file(join(import.meta.dir, "../../docs/guide/publishing.md")).text();

const SHELLS = ["bash", "dash"].filter((shell) => Bun.which(shell) !== null);

for (const section of ["Conditional writes", "Safe retries"]) {
  test.each(SHELLS)(`the example of "${section}" prints in %s what the guide shows`, async (name) => {
    const [, text = ""] = new RegExp(`\n## ${section}\n(.*?)(?=\n## |$)`, "s").exec(guide) ?? [];
    const [, example = ""] = /```sh\n(.*?)```/s.exec(text) ?? [];
    const [, shown = ""] = /```text\n(.*?)```/s.exec(text) ?? [];
    expect([example, shown]).not.toContain("");
    const server = await testServer();
    const { token } = await server.register("jake");
    const shell = Bun.spawn([name, "-euc", example], {
      env: { PATH: process.env.PATH, API: `${server.url}/api`, TOKEN: token },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([shell.stdout.text(), shell.stderr.text()]);
    expect({ exit: await shell.exited, err, out }).toEqual({ exit: 0, err: "", out: shown });
  });
}
