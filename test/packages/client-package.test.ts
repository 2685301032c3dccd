import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testServer } from "../support/harness.ts";

const root = join(import.meta.dir, "../..");
const installed = "node_modules/@conduit/client";

/** A project in which the packed package is installed. */
let project: string;
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "conduit-client-"));
  // A copy, so that the checkout gets no dist folder.
  await cp(join(root, "packages/client"), join(project, "package"), {
    recursive: true,
    filter: (path) => !/\/(dist|node_modules)$/.test(path),
  });
  await Bun.write(join(project, "package.json"), '{"type":"module"}');
  const env = { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` };
  const packed = await run(["npm", "pack", "--pack-destination", project], join(project, "package"), env);
  await mkdir(join(project, installed), { recursive: true });
  await run(
    ["tar", "-xzf", packed.trim().split("\n").at(-1) as string, "-C", installed, "--strip-components=1"],
    project,
  );
}, 60_000);
afterAll(() => rm(project, { recursive: true, force: true }));

async function run(command: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const child = Bun.spawn(command, { cwd, env, stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} failed:\n${out}${err}`);
  return out;
}

test("the package contains JavaScript, declarations, the document, a README and a licence, and no source", async () => {
  expect((await readdir(join(project, installed))).sort()).toEqual([
    "LICENSE",
    "README.md",
    "dist",
    "openapi.json",
    "package.json",
  ]);
  const compiled = (await readdir(join(project, installed, "dist"))).filter((name) => !/\.(js|d\.ts)$/.test(name));
  expect(compiled).toEqual([]);
});

test("Node runs the package", async () => {
  const server = await testServer();
  await server.publish(await server.register("ann"), { title: "From Node" });
  await Bun.write(
    join(project, "main.js"),
    `import { ConduitError, createClient } from "@conduit/client";
const client = createClient({ baseUrl: process.argv[2] });
const { articles } = await client.getArticles({ author: "ann" });
const error = await client.getCurrentUser().catch((error) => error);
console.log(articles[0].title, error instanceof ConduitError, error.status);
`,
  );
  expect(await run(["node", "main.js", server.url], project)).toBe("From Node true 401\n");
  await server.stop();
});

// The source too: projects that cannot install the package copy it.
test.each(["@conduit/client", "./package/src/index.ts"])(
  "%s has types that reject wrong arguments and wrong use of a result",
  async (name) => {
    await Bun.write(
      join(project, "use.ts"),
      `import { type Article, createClient } from "${name}";
const client = createClient({ baseUrl: "" });
export const article: Promise<Article> = client.getArticle({ slug: "a" }).then((body) => body.article);
void client.getArticles({ tag: "tea" }, { signal: AbortSignal.timeout(5_000), headers: { "X-Request-Id": "1" } });
void client.login({ body: { user: { email: "a", password: "b" } } }).then((tokens) => createClient({ baseUrl: "", tokens }));
// @ts-expect-error
void client.getArticle({});
// @ts-expect-error
void client.createUser({ body: { user: { username: "a" } } });
// @ts-expect-error
void client.getArticles().then(({ articles }) => articles[0].body);
// @ts-expect-error
void client.getUsers();
`,
    );
    // The options of a new Vite project.
    await Bun.write(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2023",
          lib: ["ES2023", "DOM"],
          types: [],
          module: "esnext",
          moduleResolution: "bundler",
          allowImportingTsExtensions: true,
          verbatimModuleSyntax: true,
          moduleDetection: "force",
          noEmit: true,
          strict: true,
          noUnusedLocals: true,
          noUnusedParameters: true,
          erasableSyntaxOnly: true,
          noFallthroughCasesInSwitch: true,
        },
        files: ["use.ts"],
      }),
    );
    await run([join(root, "node_modules/.bin/tsc")], project);
  },
);
