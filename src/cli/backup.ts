import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json" with { type: "json" };
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { type BackupReport, restoreBackup, writeBackup } from "../db/backup.ts";
import { runningEmbedded } from "../server/embedded.ts";
import { reachDatabase, serverLog } from "../server/server.ts";

/** `conduit backup FILE`: also while the server runs. */
export async function backup(config: Config, file: string): Promise<void> {
  const database = (await runningDatabase(config)) ?? (await reachDatabase(config, console.error, serverLog(config)));
  try {
    const report = await writeBackup(database.address, migrations, packageJson.version, file);
    console.log(`${file} has ${summary(report)}, as of ${report.takenAt}.`);
  } finally {
    await database.release();
  }
}

/** `conduit restore FILE`: into an empty data folder or database. */
export async function restore(config: Config, file: string): Promise<void> {
  if ((await runningDatabase(config)) !== undefined) {
    throw new StartupError(`A server runs on ${config.dataDir}. Stop it, or restore into another DATA_DIR.`);
  }
  const database = await reachDatabase(config, console.error, serverLog(config));
  try {
    const report = await restoreBackup(database.address, migrations, file, config.databaseConnectTimeoutMs);
    console.log(`Restored ${summary(report)}, as of ${report.takenAt}.`);
  } finally {
    await database.release();
  }
}

/** The embedded PostgreSQL of a server that runs now, reached beside it: the data folder itself is locked. */
async function runningDatabase(config: Config) {
  if (config.databaseUrl !== undefined) return undefined;
  const address = await runningEmbedded(config.dataDir);
  return address && { address, release: async () => {} };
}

function summary({ rows }: BackupReport): string {
  const parts = ["users", "articles", "comments"].map((table) => `${rows[table] ?? 0} ${table}`);
  const all = Object.values(rows).reduce((sum, count) => sum + count, 0);
  return `${parts.join(", ")} (${all} rows of ${Object.keys(rows).length} tables)`;
}
