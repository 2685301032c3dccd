import { existsSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseAddress } from "../../../src/config/database-address.ts";
import { StartupError } from "../../../src/config/startup-error.ts";
import { accountForServer } from "./account.ts";
import { findBinaries } from "./binaries.ts";
import {
  adoptCluster,
  clusterPathIn,
  createCluster,
  hasCluster,
  readPassword,
  removeUnfinishedClusters,
} from "./cluster.ts";
import { lockDataFolder, openDataFolder } from "./folder.ts";
import { programsIn, readPostmasterFile } from "./process.ts";
import { keepLogSmall, type Server, type ServerPlan, startServer } from "./server.ts";

/** PostgreSQL as a child of this process, started again whenever it dies. */
export type EmbeddedPostgres = {
  /** Stays the same for the whole life, also when PostgreSQL is started again. */
  readonly address: DatabaseAddress;
  /** Stops PostgreSQL cleanly (fast shutdown), waits; immediate shutdown after 10 s. Idempotent, never rejects. */
  stop(): Promise<void>;
};

export type EmbeddedPostgresOptions = {
  /** Folder of everything: made when missing; the cluster lives in its `postgres`. */
  readonly dataDir: string;
  /** Told what is going on, in words for a person, before each step that may take time. */
  onProgress(message: string): void;
  /** Told when PostgreSQL has died under us, why it could not be started again, and when it runs again. */
  onRestart?(message: string): void;
  /** TCP on the loopback interface instead of a Unix socket; the default where there are no such sockets (Windows) or the folder is too deep for one (macOS). */
  readonly overTcp?: boolean;
};

/** PostgreSQL's own name for it (the port is but a part of the name). */
const socketName = ".s.PGSQL.5432";
const restartDelaysMs = [0, 250, 1_000, 3_000, 10_000, 30_000];
/** A server that lived this long is not one that dies at every start. */
const livedLongMs = 60_000;
const logCheckMs = 60_000;

/**
 * Starts the PostgreSQL that npm installed, on the data in `dataDir`, and makes both database and data when there
 * are none. Recovers by itself from whatever was killed before, this process or PostgreSQL or both.
 *
 * The folder is locked for the life of the process. Of two starts at the same time, one fails.
 *
 * @throws StartupError, one line that says what to do: folder not usable, in use by another Conduit, made by another
 *   major version of PostgreSQL; PostgreSQL not installed for this platform, or not able to start.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const folder = openDataFolder(options.dataDir);
  const clusterPath = clusterPathIn(folder);
  const account = accountForServer(folder, clusterPath);
  const binaries = findBinaries(account);
  const lock = await lockDataFolder(folder);
  try {
    await removeUnfinishedClusters(folder);
    if (hasCluster(folder, binaries)) {
      adoptCluster(folder, account);
    } else {
      options.onProgress(`Creating the database in ${folder.name} …`);
      await createCluster(folder, binaries, account);
    }
    const address = chooseAddress(clusterPath, readPassword(folder), options.overTcp ?? !hasUnixSocket(clusterPath));
    const plan = { binaries, folder, clusterPath, address, account };
    options.onProgress(`Starting PostgreSQL ${binaries.version} …`);
    const stopRequest = new AbortController();
    const server = await startServer(plan, options.onProgress, stopRequest.signal);
    try {
      await ensureDatabase(address);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return supervise(plan, server, stopRequest, options.onRestart ?? (() => {}), lock.release);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Bun reaches a socket at the end of any path on Linux; elsewhere the kernel's limit counts (104 bytes on macOS). */
function hasUnixSocket(clusterPath: string): boolean {
  if (process.platform === "win32") return false;
  return process.platform === "linux" || Buffer.byteLength(join(clusterPath, socketName)) < 104;
}

/**
 * The address of the PostgreSQL that runs on a data folder now, started by another process; undefined where none does,
 * and on Windows, where its port is not known. Makes and changes nothing.
 */
export function addressOfRunning(dataDir: string): DatabaseAddress | undefined {
  if (process.platform === "win32" || !existsSync(dataDir)) return undefined;
  const folder = openDataFolder(dataDir);
  const clusterPath = clusterPathIn(folder);
  const postmaster = readPostmasterFile(clusterPath);
  if (!postmaster?.isReady || !programsIn(clusterPath).includes(postmaster.pid)) return undefined;
  return chooseAddress(clusterPath, readPassword(folder), false);
}

function chooseAddress(clusterPath: string, password: string, overTcp: boolean): DatabaseAddress {
  const account = { username: "conduit", password, database: "conduit", tls: "disable" } as const;
  if (!overTcp) {
    return { ...account, hostname: "localhost", port: 5432, socketPath: join(clusterPath, socketName) };
  }
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = probe;
  probe.stop(true);
  return { ...account, hostname: "127.0.0.1", port };
}

/**
 * Proves that one can log in. The app's role is not a superuser. Role and database are made at the first start, and
 * again if that was cut short.
 */
async function ensureDatabase(address: DatabaseAddress): Promise<void> {
  const fault = await connectOnce(address, async (sql) => void (await sql`select 1`));
  if (fault === undefined) return;
  const asSuperuser = { ...address, username: "postgres", database: "postgres" };
  const remedyFault = await connectOnce(asSuperuser, async (sql) => {
    const [role] = await sql`select 1 from pg_roles where rolname = ${address.username}`;
    // The password is 64 hexadecimal digits of our own making; a statement like this takes no parameters.
    await sql.unsafe(`${role ? "alter" : "create"} role ${address.username} login password '${address.password}'`);
    const [database] = await sql`select 1 from pg_database where datname = ${address.database}`;
    if (!database) await sql.unsafe(`create database ${address.database} owner ${address.username}`);
  });
  if (remedyFault !== undefined) {
    throw new StartupError(
      `PostgreSQL runs but does not let us in: ${remedyFault.message}. Restore the data folder from a backup.`,
    );
  }
}

/** @returns the error, if any */
async function connectOnce(address: DatabaseAddress, use: (sql: Bun.SQL) => Promise<void>): Promise<Error | undefined> {
  const { hostname, port, username, password, database, tls, socketPath } = address;
  const path = socketPath === undefined ? {} : { path: socketPath };
  const sql = new Bun.SQL({
    adapter: "postgres",
    hostname,
    port,
    username,
    password,
    database,
    tls,
    ...path,
    max: 1,
    connectionTimeout: 10,
  });
  try {
    await use(sql);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    await sql.close();
  }
}

/** Starts the server again whenever it ends, until `stop()`. */
function supervise(
  plan: ServerPlan,
  first: Server,
  stopRequest: AbortController,
  onRestart: (message: string) => void,
  release: () => void,
): EmbeddedPostgres {
  const { signal } = stopRequest;
  const logCheck = setInterval(() => keepLogSmall(plan.folder), logCheckMs);
  logCheck.unref();

  const watch = async (): Promise<void> => {
    let server = first;
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = performance.now();
      const how = await Promise.race([server.ended, aborted(signal)]);
      if (signal.aborted) break;
      failures = performance.now() - startedAt > livedLongMs ? 0 : failures;
      onRestart(`PostgreSQL ended unexpectedly (${how}); starting it again …`);
      const endedAt = performance.now();
      for (;;) {
        const delayMs = restartDelaysMs[Math.min(failures++, restartDelaysMs.length - 1)] ?? 0;
        await Promise.race([Bun.sleep(delayMs), aborted(signal)]);
        if (signal.aborted) return;
        try {
          server = await startServer(plan, onRestart, signal);
          onRestart(`PostgreSQL runs again after ${((performance.now() - endedAt) / 1000).toFixed(1)} s.`);
          break;
        } catch (error) {
          if (signal.aborted) return;
          onRestart(
            `PostgreSQL could not be started again, will try on: ${error instanceof Error ? error.message : String(error)}`,
          );
        }
      }
    }
    await server.stop();
  };

  const watching = watch();
  let stopping: Promise<void> | undefined;
  return {
    address: plan.address,
    stop: () => {
      stopping ??= (async () => {
        clearInterval(logCheck);
        stopRequest.abort();
        await watching;
        release();
      })();
      return stopping;
    },
  };
}

function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("stopped");
    else signal.addEventListener("abort", () => resolve("stopped"), { once: true });
  });
}
