import { migrations } from "../../migrations/index.ts";
import { StartupError } from "../config/startup-error.ts";
import { requireBackup, restoreBackup } from "../db/backup/restore.ts";
import { QUEUE_ALL } from "../features/articles/search/indexing.ts";
import { AFTER_RESTORE } from "../features/identity/restored-data.ts";
import { updateSchema } from "../server/schema.ts";
import { contentsOf } from "./backup.ts";
import type { Command } from "./command.ts";
import { openDatabase, runningDatabase } from "./database.ts";

export const restore: Command = {
  name: "restore",
  argument: "FILE",
  summary: "Read a backup into an empty data folder or database",
  async run({ config: readConfig, argument: file }) {
    const config = readConfig();
    if ((await runningDatabase(config)) !== undefined) {
      throw new StartupError(
        `A server is running on ${config.dataDir}. Stop it, or restore into another folder with DATA_DIR.`,
      );
    }
    // Before a database is created for it.
    await requireBackup(migrations, file);
    const { address, release } = await openDatabase(config, console.error);
    try {
      const report = await restoreBackup(address, migrations, file, {
        finish: [...AFTER_RESTORE, QUEUE_ALL],
        connectTimeoutMs: config.databaseConnectTimeoutMs,
        timeoutMs: config.databaseStartTimeoutMs,
        onProgress: console.error,
      });
      // That of the job queue.
      await updateSchema(address, config, console.error);
      console.log(`Restored ${contentsOf(report)}, as of ${report.takenAt}. Everyone has to sign in again.`);
    } finally {
      await release();
    }
  },
};
