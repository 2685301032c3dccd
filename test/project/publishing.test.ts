import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type TestServer, testServer } from "../support/harness.ts";

const guide = await Bun.file(join(import.meta.dir, "../../docs/guide/publishing.md")).text();
let server: TestServer;
beforeAll(async () => {
  server = await testServer();
}, 60_000);
afterAll(() => server.stop());

/** The text of a section of the guide. */
const section = (title: string): string =>
  new RegExp(`^## ${title}\n(.*?)(?=^## |$(?![^]))`, "ms").exec(guide)?.[1] ?? "";
const example = (text: string): string => /```sh\n(.*?)```/s.exec(text)?.[1] ?? "";

/** The lines that a script prints, a response each. */
async function run(script: string): Promise<string[]> {
  const all = `set -eu\ncurl() { command curl --show-error --fail-with-body "$@"; echo; }\n${script}`;
  const shell = Bun.spawn(["sh", "-c", all.replaceAll("http://localhost:3000", server.url)], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([shell.stdout.text(), shell.stderr.text()]);
  expect({ exit: await shell.exited, err }).toEqual({ exit: 0, err: "" });
  return out.trim().split("\n").filter(Boolean);
}

test("the sessions of the guide show what it says", async () => {
  const [revisions, addresses] = [section("Revisions"), section("Addresses that stay")];
  const shown = /```json\n(.*?)```/s.exec(revisions)?.[1] ?? "";
  const first = await run(example(revisions));
  expect(JSON.parse(first.at(-1) ?? "")).toEqual(JSON.parse(shown));

  const both = await run(example(revisions) + example(addresses));
  const [redirect = "", article = ""] = both.slice(-2);
  const { slug, title, body } = JSON.parse(article).article;
  expect(title).toMatch(/^Rye bread of mara/);
  expect(body).toBe("Feed the starter daily.");
  expect(redirect).toBe(`308 ${server.url}/api/articles/${slug}?from=bookmark`);
});
