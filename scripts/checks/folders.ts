import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { filesOf, root, textOf } from "./files.ts";

/**
 * The folders of src. Each may import itself and the ones before it. It imports a workspace package by name, and a package
 * never imports src.
 */
const FOLDERS = [
  "config",
  "observability",
  "http",
  "db",
  "jobs",
  "mail",
  "markup",
  "memory",
  "features/identity",
  "features/profiles",
  "features/articles",
  "features/comments",
  "features/tags",
  "features/health",
  "web",
  "seed",
  "server",
  "cli",
];

/** Imports within src against the direction of FOLDERS, and files outside any of them. */
export async function checkDirections(): Promise<string[]> {
  const problems: string[] = [];
  for (const file of filesOf("src/**/*.{ts,tsx}")) {
    if (file === "src/main.ts") continue;
    const folder = folderOf(file);
    if (folder === undefined) {
      problems.push(`${file}: add its folder to FOLDERS in scripts/checks/folders.ts`);
      continue;
    }
    for (const path of await importsOf(file)) {
      const target = folderOf(path);
      if (target === undefined ? path.startsWith("src/") : FOLDERS.indexOf(target) > FOLDERS.indexOf(folder)) {
        const allowed = FOLDERS.slice(0, FOLDERS.indexOf(folder) + 1).join(", ");
        problems.push(`${file} imports ${path}: ${folder} may import ${allowed}`);
      }
    }
  }
  for (const file of filesOf("packages/*/src/**/*.{ts,tsx}")) {
    for (const path of await importsOf(file)) {
      const ownFolder = file.split("/").slice(0, 2).join("/");
      if (!path.startsWith(`${ownFolder}/`)) problems.push(`${file} imports ${path}: a package may import only itself`);
    }
  }
  return problems;
}

function folderOf(file: string): string | undefined {
  return FOLDERS.find((folder) => file.startsWith(`src/${folder}/`));
}

/** The files that a file imports, types included, as paths from the root. */
async function importsOf(file: string): Promise<string[]> {
  return relativeImports(await textOf(file)).map((path) => normalize(join(dirname(file), path)));
}

/** The relative paths that a source text imports or exports from, in every form that has a literal path. */
export function relativeImports(text: string): string[] {
  return [...text.matchAll(/(?:\bfrom|\bimport\(?)\s*"(\.[^"]+)"/g)].map(([, path]) => path ?? "");
}

/** Files that import each other, types included: one line per cycle. */
export async function checkCycles(): Promise<string[]> {
  const cycles = new Set<string>();
  const done = new Set<string>();
  async function visit(file: string, path: string[]): Promise<void> {
    if (path.includes(file)) {
      cycles.add([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    if (done.has(file) || !existsSync(join(root, file))) return;
    for (const next of await importsOf(file)) await visit(next, [...path, file]);
    done.add(file);
  }
  for (const file of filesOf("{src,packages,bench,scripts}/**/*.{ts,tsx}")) await visit(file, []);
  return [...cycles];
}

/** Tests in a folder without a counterpart in src, and helpers among tests. */
export async function checkTestFolders(): Promise<string[]> {
  // bench, packages and project test what is outside src; browser and cluster test the whole.
  const others = ["test/support", "test/bench", "test/browser", "test/cluster", "test/packages", "test/project"];
  return filesOf("test/**/*.{ts,tsx}").flatMap((file) => {
    const folder = dirname(file);
    if (others.includes(folder)) return [];
    if (!file.endsWith(".test.ts") && !file.endsWith(".test.tsx")) return [`${file}: helpers belong in test/support`];
    return existsSync(join(root, folder.replace(/^test/, "src"))) ? [] : [`${file}: src has no such folder`];
  });
}
