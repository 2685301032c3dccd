import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { connectionsOfPools } from "../db/pool.ts";

/** What the embedded PostgreSQL accepts. Each connection is a process of some megabytes. */
export const EMBEDDED_CONNECTIONS_MAX = 220;
/** What is left of these for a server: the superuser and commands next to it, such as a backup, need some too. */
export const EMBEDDED_CONNECTIONS_AVAILABLE = EMBEDDED_CONNECTIONS_MAX - 10;

/** Besides the pools, a process has one connection for notifications and three for background jobs. */
const OUTSIDE_POOLS = 4;

type Sizes = Pick<Config, "workers" | "databasePoolMax">;

/** `DATABASE_POOL_MAX` of each process. At least two, so that a slow statement does not delay all others of its worker. */
export const poolMaxPerProcess = ({ workers, databasePoolMax }: Sizes): number =>
  workers === 1 ? databasePoolMax : Math.max(2, Math.ceil(databasePoolMax / workers));

/** How many connections a server with all its workers opens at most. */
export const connectionsNeeded = (sizes: Sizes): number =>
  sizes.workers * (connectionsOfPools(poolMaxPerProcess(sizes)) + OUTSIDE_POOLS);

/** @throws StartupError if the embedded PostgreSQL has too few connections for this configuration */
export function requireConnections(config: Sizes & Pick<Config, "databaseUrl">): void {
  const available = EMBEDDED_CONNECTIONS_AVAILABLE;
  const needed = connectionsNeeded(config);
  if (config.databaseUrl !== undefined || needed <= available) return;
  throw new StartupError(
    `WORKERS=${config.workers} with DATABASE_POOL_MAX=${config.databasePoolMax} needs up to ${needed} connections, and the embedded PostgreSQL has ${available}. Lower one of the two, or set DATABASE_URL to a PostgreSQL of your own.`,
  );
}
