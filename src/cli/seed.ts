import type { Config } from "../config/settings.ts";
import { loadSize, seed as seedDatabase } from "../seed/seed.ts";
import { updateSchema } from "../server/schema.ts";
import type { Command } from "./command.ts";
import { openDatabase } from "./database.ts";

export const seed: Command = {
  name: "seed",
  summary: "Fill an empty database with demonstration content, also next to a running server",
  flags: {
    articles: "create a load-test data set with this many articles (100 to 10000000) instead",
    users: "with this many users; default: a tenth of the articles",
  },
  async run({ config: readConfig, flags }) {
    const config = readConfig();
    const size = loadSize(flags);
    const database = await openDatabase(config);
    try {
      await updateSchema(database.address, config, console.log);
      const login = await seedDatabase(database.address, size, console.log, siteOf(config));
      console.log(`Done. Sign in with email ${login.email} and password ${JSON.stringify(login.password)}.`);
    } finally {
      await database.release();
    }
  },
};

/** The address of the server, as front ends on this machine know it if `BASE_URL` is not set. */
const siteOf = ({ baseUrl, port }: Config): string => (baseUrl ?? `http://localhost:${port}`).replace(/\/$/, "");
