import { updateSchema } from "../server/schema.ts";
import type { Command } from "./command.ts";
import { openDatabase } from "./database.ts";

export const migrate: Command = {
  name: "migrate",
  summary: "Update the database schema, also next to a running server",
  async run({ config: readConfig }) {
    const config = readConfig();
    const database = await openDatabase(config);
    try {
      await updateSchema(database.address, config, console.log);
      console.log("The schema is up to date.");
    } finally {
      await database.release();
    }
  },
};
