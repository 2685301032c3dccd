import { type DatabaseAddress, directAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { runningEmbedded } from "../server/embedded.ts";
import { reachDatabase, serverLog } from "../server/server.ts";

/** A database for the duration of one command. */
export type CommandDatabase = {
  readonly address: DatabaseAddress;
  /** Stops the embedded PostgreSQL if this command started it. */
  release(): Promise<void>;
};

/**
 * The database that a command works on: that of `DATABASE_URL`, the embedded one of a server that is running now, or the
 * embedded one, started for this command.
 * @throws StartupError if there is none to reach
 */
export async function openDatabase(
  config: Config,
  onProgress: (message: string) => void = console.log,
): Promise<CommandDatabase> {
  const running = await runningDatabase(config);
  if (running !== undefined) return running;
  const { address, release } = await reachDatabase(config, onProgress, serverLog(config));
  // Commands need a session, which a pooler does not keep.
  return { address: directAddress(address), release };
}

/**
 * The embedded PostgreSQL of a server that is running now on this data folder. A command cannot start a second one, as
 * the server holds the folder's lock, but it can connect to that one. Undefined without such a server.
 */
export async function runningDatabase(config: Config): Promise<CommandDatabase | undefined> {
  if (config.databaseUrl !== undefined) return undefined;
  const address = await runningEmbedded(config.dataDir);
  return address && { address, release: async () => {} };
}
