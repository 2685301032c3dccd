// npm run check: everything about the code that a program can verify. Prints what failed, and exits with 1 if anything did.

import { join } from "node:path";
import { checkDecisions, checkLinks, checkMentionedFiles, checkThreats } from "./checks/documents.ts";
import { root } from "./checks/files.ts";
import { checkCycles, checkDirections, checkTestFolders } from "./checks/folders.ts";
import { checkMigrations } from "./checks/migrations.ts";
import { checkPhrases } from "./checks/phrases.ts";
import { checkStatements } from "./checks/statements.ts";
import { clientDrift } from "./client.ts";

/** Each check returns its problems, one text each. */
const checks: [name: string, check: () => Promise<string[]>][] = [
  ["format and lint", () => command("biome", "check", "--error-on-warnings", ".")],
  ["types", () => command("tsc", "--noEmit")],
  ["types of the client", () => command("tsc", "--noEmit", "--project", "packages/client")],
  ["OpenAPI rules", () => command("redocly", "lint")],
  ["import directions", checkDirections],
  ["import cycles", checkCycles],
  ["test folders", checkTestFolders],
  ["migrations beside running servers", checkMigrations],
  ["SQL statements", checkStatements],
  ["client and OpenAPI document", clientDrift],
  ["English in public texts", checkPhrases],
  ["links", checkLinks],
  ["mentioned files", checkMentionedFiles],
  ["tests of threats", checkThreats],
  ["decisions", checkDecisions],
];

let failed = 0;
for (const [name, check] of checks) {
  const problems = await check();
  console.log(`${problems.length === 0 ? "ok    " : "FAILED"} ${name}`);
  for (const problem of problems) console.log(`  ${problem}`);
  failed += problems.length === 0 ? 0 : 1;
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
