import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "@conduit/embedded-postgres";
import { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connectionOptions } from "../../src/db/pool.ts";
import { statements } from "../../src/db/statements.ts";
import { filesOf, root, textOf } from "./files.ts";

/** Prepares every statement of the program on the migrated schema. */
export async function checkStatements(): Promise<string[]> {
  for (const file of filesOf("src/**/*.{ts,tsx}")) {
    // Statements register themselves on import.
    if (/\b(read|write|batch)(<|\()/.test(await textOf(file))) await import(join(root, file));
  }
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-check-"));
  const postgres = await startEmbeddedPostgres({ dataDir });
  try {
    await migrate(postgres.address, migrations, 5_000);
    const sql = new SQL(connectionOptions(postgres.address, 1, {}));
    const problems: string[] = [];
    for (const { name, text, parameterNames } of statements.values()) {
      if (parameterNames === undefined && /\$(?:[4-9]|[1-9][0-9])/.test(text)) {
        problems.push(`statement ${name} has more than three parameters: give them names`);
      }
      try {
        await sql.unsafe(`prepare check_${name} as ${text}`).simple();
      } catch (error) {
        problems.push(`statement ${name}: ${(error as Error).message}`);
      }
    }
    await sql.close();
    if (statements.size === 0) problems.push("found no statement to check");
    return problems;
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}
