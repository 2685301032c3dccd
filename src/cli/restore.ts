import { migrations } from "../../migrations/index.ts";
import { StartupError } from "../config/startup-error.ts";
import { restoreBackup } from "../db/backup.ts";
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
    const database = await openDatabase(config, console.error);
    try {
      const report = await restoreBackup(database.address, migrations, file, config.databaseConnectTimeoutMs);
      await updateSchema(database.address, config, console.error);
      console.log(`Restored ${contentsOf(report)}, as of ${report.takenAt}.`);
    } finally {
      await database.release();
    }
  },
};
