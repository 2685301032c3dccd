// npm run check: format, lint, types, the directions of imports, and the SQL. Prints what failed; exits 1 if anything did.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { startEmbeddedPostgres } from "@conduit/embedded-postgres";
import { Glob, SQL } from "bun";
import { migrations } from "../migrations/index.ts";
import { migrate } from "../src/db/migrations.ts";
import { connectionOptions } from "../src/db/pool.ts";
import { statements } from "../src/db/statements.ts";
import { clientDrift } from "./client.ts";

const root = dirname(import.meta.dir);

/**
 * The folders of src, each with what it may import: itself, and what stands before it here. A package of the workspace is
 * imported by its name, and knows nothing of src.
 */
const FOLDERS = [
  "config",
  "observability",
  "http",
  "db",
  "jobs",
  "mail",
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

const checks: [name: string, check: () => Promise<string[]>][] = [
  ["format and lint", () => command("biome", "check", "--error-on-warnings", ".")],
  ["types", () => command("tsc", "--noEmit")],
  ["types of the client", () => command("tsc", "--noEmit", "--project", "packages/client")],
  ["import directions", checkImports],
  ["import cycles", checkCycles],
  ["SQL", checkStatements],
  ["client and OpenAPI document", clientDrift],
  ["OpenAPI rules", () => command("redocly", "lint")],
];
let failed = 0;
for (const [name, check] of checks) {
  const faults = await check();
  console.log(`${faults.length === 0 ? "ok    " : "FAILED"} ${name}`);
  for (const fault of faults) console.log(`  ${fault}`);
  failed += faults.length === 0 ? 0 : 1;
}
process.exit(failed === 0 ? 0 : 1);

async function command(...[name, ...args]: [string, ...string[]]): Promise<string[]> {
  const child = Bun.spawn([join(root, "node_modules/.bin", name), ...args], {
    cwd: root,
    // Redocly reports its use, and looks for newer versions, unless these variables prevent it.
    env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return (await child.exited) === 0 ? [] : [out + err];
}

async function checkImports(): Promise<string[]> {
  const faults: string[] = [];
  for await (const file of new Glob("src/**/*.ts{,x}").scan(root)) {
    if (file === "src/main.ts") continue;
    const folder = folderOf(file);
    if (folder === undefined) {
      faults.push(`${file}: its folder is not in FOLDERS of scripts/check.ts`);
      continue;
    }
    for (const path of await importsOf(file)) {
      const into = folderOf(path);
      if (into === undefined ? path.startsWith("src/") : FOLDERS.indexOf(into) > FOLDERS.indexOf(folder)) {
        faults.push(
          `${file} imports ${path}: ${folder} may import itself and ${FOLDERS.slice(0, FOLDERS.indexOf(folder)).join(", ")}`,
        );
      }
    }
  }
  return faults;
}

function folderOf(file: string): string | undefined {
  return FOLDERS.find((folder) => file.startsWith(`src/${folder}/`));
}

/** The files that a file imports, types included, as paths from the root. */
async function importsOf(file: string): Promise<string[]> {
  const text = await Bun.file(join(root, file)).text();
  return [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map(([, path]) =>
    normalize(join(dirname(file), path ?? "")),
  );
}

/** Files that import each other, types included, as one line a cycle. */
async function checkCycles(): Promise<string[]> {
  const cycles = new Set<string>();
  const done = new Set<string>();
  async function visit(file: string, path: string[]): Promise<void> {
    if (path.includes(file)) {
      cycles.add([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    if (done.has(file) || !(await Bun.file(join(root, file)).exists())) return;
    for (const next of await importsOf(file)) await visit(next, [...path, file]);
    done.add(file);
  }
  for await (const file of new Glob("{src,packages,bench,scripts}/**/*.ts{,x}").scan(root)) await visit(file, []);
  return [...cycles];
}

/** Prepares every statement of the program against the migrated schema. */
async function checkStatements(): Promise<string[]> {
  for await (const file of new Glob("src/**/*.ts").scan(root)) {
    // Statements register themselves on import.
    if (/\b(read|write)(<|\()/.test(await Bun.file(join(root, file)).text())) await import(join(root, file));
  }
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-check-"));
  const postgres = await startEmbeddedPostgres({ dataDir });
  try {
    await migrate(postgres.address, migrations, 5_000);
    const sql = new SQL(connectionOptions(postgres.address, 1, {}));
    const faults: string[] = [];
    for (const { name, text, parameterNames } of statements.values()) {
      if (parameterNames === undefined && /\$(?:[4-9]|[1-9][0-9])/.test(text)) {
        faults.push(`statement ${name} has more than three parameters: give them names`);
      }
      try {
        await sql.unsafe(`prepare check_${name} as ${text}`).simple();
      } catch (error) {
        faults.push(`statement ${name}: ${(error as Error).message}`);
      }
    }
    await sql.close();
    if (statements.size === 0) faults.push("found no statement to check");
    return faults;
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}
