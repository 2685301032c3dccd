import { describe, expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import {
  copyPackage,
  copyPrograms,
  hasStartedOrFailed,
  isLinux,
  nativeFolder,
  newFolder,
  packageRoot,
  setUpTests,
  startApp,
} from "./support.ts";

setUpTests();

describe("the package", () => {
  test("imports nothing but itself, Bun and Node.js", () => {
    const files = readdirSync(join(packageRoot, "src"));
    expect(files).toContain("index.ts");
    for (const file of files) {
      const text = readFileSync(join(packageRoot, "src", file), "utf8");
      const imports = [...text.matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(([, path]) => path ?? "");
      expect(imports.filter((path) => !/^(\.\/[\w-]+\.ts|bun|bun:\w+|node:\w+)$/.test(path))).toEqual([]);
    }
  });

  test("pins one exact version for all platforms", () => {
    const versions = new Set(Object.values(manifest.optionalDependencies));
    expect([...versions]).toEqual([expect.stringMatching(/^18\.\d+\.\d+[\w.-]*$/)]);
  });

  test("runs the README's example in another project", async () => {
    const project = newFolder();
    const installed = join(project, "node_modules", manifest.name);
    for (const path of ["package.json", ...manifest.files]) {
      cpSync(join(packageRoot, path), join(installed, path), { recursive: true });
    }
    copyPrograms(project);
    const readme = readFileSync(join(packageRoot, "README.md"), "utf8");
    writeFileSync(join(project, "example.ts"), /```ts\n(.*?)```/s.exec(readme)?.[1] ?? "");
    const example = Bun.spawn([process.execPath, "example.ts"], {
      cwd: project,
      env: { PATH: process.env.PATH ?? "" },
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([example.stdout.text(), example.stderr.text()]);
    expect(err).toBe("");
    expect(out).toMatch(/^PostgreSQL 18\.\d+ on /);
    expect(await example.exited).toBe(0);
    expect(readdirSync(join(project, "data")).sort()).toEqual(["postgres", "postgres.lock", "postgres.log"]);
  });
});

test("an installation without install scripts is repaired: links of libraries, executable bits", async () => {
  const root = newFolder();
  const from = copyPackage(root, (path) => !lstatSync(path).isSymbolicLink());
  const native = nativeFolder(root);
  for (const program of readdirSync(join(native, "bin"))) chmodSync(join(native, "bin", program), 0o644);
  expect(existsSync(join(native, "lib", "libpq.so.5"))).toBe(!isLinux);
  const { error } = await startApp(newFolder(), { from }).until(hasStartedOrFailed);
  expect(error).toBeUndefined();
});
