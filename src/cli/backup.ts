import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json" with { type: "json" };
import { type BackupReport, writeBackup } from "../db/backup.ts";
import type { Command } from "./command.ts";
import { openDatabase } from "./database.ts";

export const backup: Command = {
  name: "backup",
  argument: "FILE",
  summary: "Write all data to one file, also next to a running server",
  async run({ config: readConfig, argument: file }) {
    // Progress goes to standard error, as the summary alone belongs on standard output.
    const database = await openDatabase(readConfig(), console.error);
    try {
      const report = await writeBackup(database.address, migrations, packageJson.version, file);
      console.log(`Wrote ${contentsOf(report)} to ${file}, as of ${report.takenAt}.`);
    } finally {
      await database.release();
    }
  },
};

/** What a backup contains, for a person. */
export function contentsOf({ rows }: BackupReport): string {
  const parts = ["users", "articles", "comments"].map((table) => `${rows[table] ?? 0} ${table}`);
  const all = Object.values(rows).reduce((sum, count) => sum + count, 0);
  return `${parts.join(", ")} (${all} rows in ${Object.keys(rows).length} tables)`;
}
