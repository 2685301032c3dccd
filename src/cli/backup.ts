import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json" with { type: "json" };
import type { BackupReport } from "../db/backup/format.ts";
import { writeBackup } from "../db/backup/write.ts";
import type { Command } from "./command.ts";
import { openDatabase } from "./database.ts";

export const backup: Command = {
  name: "backup",
  argument: "FILE",
  summary: "Write all data to one file, also next to a running server",
  async run({ config: readConfig, argument: file }) {
    const config = readConfig();
    // Progress goes to standard error, as the summary alone belongs on standard output.
    const { address, release } = await openDatabase(config, console.error);
    try {
      const times = { connectMs: config.databaseConnectTimeoutMs };
      const report = await writeBackup(address, migrations, packageJson.version, file, times);
      console.log(`Wrote ${contentsOf(report)} to ${file}, as of ${report.takenAt}.`);
    } finally {
      await release();
    }
  },
};

/** What a backup contains, for a person. */
export function contentsOf({ rows }: BackupReport): string {
  const parts = ["users", "articles", "comments"].map((table) => `${rows[table] ?? 0} ${table}`);
  const all = Object.values(rows).reduce((sum, count) => sum + count, 0);
  return `${parts.join(", ")} (${all} rows in ${Object.keys(rows).length} tables)`;
}
