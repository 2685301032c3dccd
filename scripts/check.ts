// npm run check: format, lint, types, the directions of imports, and the SQL. Prints what failed; exits 1 if anything did.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { Glob, SQL } from "bun";
import { migrations } from "../migrations/index.ts";
import { connectionOptions, statements } from "../src/platform/database.ts";
import { startEmbeddedPostgres } from "../src/platform/embedded-postgres.ts";
import { migrate } from "../src/platform/migrations.ts";
import { clientDrift } from "./client.ts";

const root = dirname(import.meta.dir);

const checks: [name: string, check: () => Promise<string[]>][] = [
  ["format and lint", () => command("biome", "check", "--error-on-warnings", ".")],
  ["types", () => command("tsc", "--noEmit")],
  ["import directions", checkImports],
  ["SQL", checkStatements],
  ["client and OpenAPI document", clientDrift],
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
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return (await child.exited) === 0 ? [] : [out + err];
}

/** What each folder of src may import: itself, platform, and what stands before it here. Files in src itself may all. */
async function checkImports(): Promise<string[]> {
  const order = [
    "platform",
    "auth",
    "mail",
    "sessions",
    "users",
    "accounts",
    "profiles",
    "articles",
    "comments",
    "seed",
  ];
  const apart = ["tags", "health", "docs"];
  const faults: string[] = [];
  for await (const file of new Glob("src/*/**/*.ts").scan(root)) {
    const folder = file.split("/")[1] ?? "";
    // The command line is above everything.
    if (folder === "commands") continue;
    if (!order.includes(folder) && !apart.includes(folder))
      faults.push(`${file}: add src/${folder} to scripts/check.ts`);
    const allowed = apart.includes(folder) ? ["platform"] : order.slice(0, order.indexOf(folder));
    for (const [, path] of (await Bun.file(join(root, file)).text()).matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
      const target = normalize(join(dirname(file), path ?? "")).split("/");
      if (target.join("/") === "package.json") continue;
      const into = target[0] === "src" && target.length > 2 ? target[1] : undefined;
      if (into !== folder && (into === undefined || !allowed.includes(into))) {
        faults.push(`${file} imports ${target.join("/")}: ${folder} may import ${["itself", ...allowed].join(", ")}`);
      }
    }
  }
  return faults;
}

/** Prepares every statement of the program against the migrated schema. */
async function checkStatements(): Promise<string[]> {
  for await (const file of new Glob("src/**/*.ts").scan(root)) {
    // Statements register themselves on import.
    if (/\b(read|write)(<|\()/.test(await Bun.file(join(root, file)).text())) await import(join(root, file));
  }
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-check-"));
  const postgres = await startEmbeddedPostgres({ dataDir, onProgress: () => {} });
  try {
    await migrate(postgres.address, migrations, 5_000);
    const sql = new SQL(connectionOptions(postgres.address, 1, {}));
    const faults: string[] = [];
    for (const { name, text } of statements.values()) {
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
