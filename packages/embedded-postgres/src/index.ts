import { existsSync } from "node:fs";
import { accountForServer } from "./account.ts";
import { canUseUnixSocket, type PostgresAddress, socketAddress, tcpAddress } from "./address.ts";
import { findBinaries } from "./binaries.ts";
import {
  adoptCluster,
  applicationPassword,
  clusterPathIn,
  createCluster,
  existingApplicationPassword,
  hasCluster,
  removeUnfinishedClusters,
  superuserPassword,
} from "./cluster.ts";
import { ensureDatabase } from "./database.ts";
import { lockDataFolder, openDataFolder } from "./folder.ts";
import { processesOf, readPostmasterFile } from "./process.ts";
import { startServer } from "./server.ts";
import type { PostgresSettings } from "./settings.ts";
import { supervise } from "./supervise.ts";

export type { PostgresAddress } from "./address.ts";
export { EmbeddedPostgresError, type EmbeddedPostgresErrorCode } from "./errors.ts";
export type { PostgresSettings } from "./settings.ts";

/** PostgreSQL as a child of this process, restarted whenever it ends. */
export type EmbeddedPostgres = {
  /** Does not change when PostgreSQL is restarted. */
  readonly address: PostgresAddress;
  /** Stops PostgreSQL: fast shutdown, and after 10 s immediate shutdown. Idempotent, never rejects. */
  stop(): Promise<void>;
};

/** The data folder, and the names of the application's role and database in it. */
export type DatabaseOptions = {
  /** Contains everything. Created if it is missing. */
  readonly dataDir: string;
  /** The application's role, which is not a superuser. Default: `app`. */
  readonly username?: string;
  /** The application's database. Default: `app`. */
  readonly database?: string;
};

export type EmbeddedPostgresOptions = DatabaseOptions & {
  /** Receives a message for the user before each step that takes time. */
  readonly onProgress?: (message: string) => void;
  /** Receives a message when PostgreSQL has ended unexpectedly, cannot be restarted, or is running again. */
  readonly onRestart?: (message: string) => void;
  /** PostgreSQL settings that override this package's defaults. */
  readonly settings?: PostgresSettings;
  /**
   * TCP on the loopback interface instead of a Unix socket. Default: false, except where Unix sockets do not work
   * (Windows; macOS if the path is too long).
   */
  readonly overTcp?: boolean;
  /**
   * Folder for a copy of PostgreSQL's programs. Used only if root starts the application and other users cannot read
   * node_modules. Default: `/var/cache/embedded-postgres`.
   */
  readonly cacheDir?: string;
};

const defaultName = "app";
const defaultCacheDir = "/var/cache/embedded-postgres";

/**
 * Starts the PostgreSQL that npm installed on the data in `dataDir`, and creates the database if there is none. Recovers
 * if this process, PostgreSQL, or both were killed before.
 *
 * Locks the folder until `stop()` or the end of the process. If two processes start at the same time, one fails.
 *
 * @throws EmbeddedPostgresError; its `code` says what kind of problem it is, its message what the user can do.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { onProgress = () => {}, onRestart = () => {} } = options;
  const folder = openDataFolder(options.dataDir);
  const clusterPath = clusterPathIn(folder);
  const account = accountForServer(folder, clusterPath);
  const binaries = findBinaries(account, options.cacheDir ?? defaultCacheDir);
  const lock = await lockDataFolder(folder);
  try {
    await removeUnfinishedClusters(folder);
    if (hasCluster(folder, binaries)) {
      adoptCluster(folder, account);
    } else {
      onProgress(`Creating the database in ${folder.name} …`);
      await createCluster(folder, binaries, account);
    }
    const login = loginOf(options, applicationPassword(folder));
    const overTcp = options.overTcp ?? !canUseUnixSocket(clusterPath);
    const address = overTcp ? tcpAddress(login) : socketAddress(clusterPath, login);
    const plan = { binaries, folder, clusterPath, address, settings: options.settings ?? {}, account };
    onProgress(`Starting PostgreSQL ${binaries.version} …`);
    const server = await startServer(plan, onProgress);
    try {
      await ensureDatabase(address, () => superuserPassword(folder));
    } catch (error) {
      await server.stop();
      throw error;
    }
    const stopServer = supervise(plan, server, onRestart);
    let stopping: Promise<void> | undefined;
    return {
      address,
      stop: () => {
        stopping ??= stopServer().then(lock.release);
        return stopping;
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * The address of the PostgreSQL that another process has started on a data folder. Changes nothing.
 * @returns undefined if none is running, and on Windows, where the port is unknown
 */
export function addressOfRunning(options: DatabaseOptions): PostgresAddress | undefined {
  if (process.platform === "win32" || !existsSync(options.dataDir)) return undefined;
  const folder = openDataFolder(options.dataDir);
  const clusterPath = clusterPathIn(folder);
  const postmaster = readPostmasterFile(clusterPath);
  if (!postmaster?.isReady || !processesOf(clusterPath).includes(postmaster.pid)) return undefined;
  return socketAddress(clusterPath, loginOf(options, existingApplicationPassword(folder)));
}

function loginOf({ username = defaultName, database = defaultName }: DatabaseOptions, password: string) {
  return { username, password, database };
}
