import { join } from "node:path";
import { Glob } from "bun";

export const root = join(import.meta.dir, "../..");

/** The files of the repository that match one of the patterns, as paths from its root, without installed packages. */
export function filesOf(...patterns: string[]): string[] {
  const files = patterns.flatMap((pattern) => [...new Glob(pattern).scanSync({ cwd: root, dot: true })]);
  return [...new Set(files)].filter((file) => !file.includes("node_modules/")).sort();
}

export const textOf = (file: string): Promise<string> => Bun.file(join(root, file)).text();
