// What the embedded PostgreSQL needs to know about Conduit. Imports the package only when it is used: the executable
// starts without it.
import type { EmbeddedPostgres, EmbeddedPostgresErrorCode } from "@conduit/embedded-postgres";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { EMBEDDED_CONNECTIONS_MAX } from "./connections.ts";

const NAMES = { username: "conduit", database: "conduit" };

const OWN_POSTGRES = "To use a PostgreSQL of your own, set DATABASE_URL.";
const OTHER_FOLDER = "The setting for the data folder is DATA_DIR.";

/** Which setting helps with which kind of problem. */
const HINTS: Record<EmbeddedPostgresErrorCode, string | undefined> = {
  "not-installed": OWN_POSTGRES,
  "cannot-run": OWN_POSTGRES,
  "folder-unusable": OTHER_FOLDER,
  "folder-in-use": OTHER_FOLDER,
  "incompatible-version": OTHER_FOLDER,
  "disk-full": undefined,
  "not-started": undefined,
};

/**
 * Starts PostgreSQL on the data in `dataDir`, with Conduit's role and database.
 * @throws StartupError with the reason and the setting that helps.
 */
export async function startEmbedded(
  dataDir: string,
  onProgress: (message: string) => void,
  onRestart?: (message: string) => void,
): Promise<EmbeddedPostgres> {
  const { startEmbeddedPostgres } = await import("@conduit/embedded-postgres");
  return withHints(() =>
    startEmbeddedPostgres({
      ...NAMES,
      dataDir,
      cacheDir: "/var/cache/conduit",
      settings: { max_connections: EMBEDDED_CONNECTIONS_MAX },
      onProgress,
      ...(onRestart && { onRestart }),
    }),
  );
}

/**
 * The address of the PostgreSQL that a running server has started on `dataDir`; undefined if no server runs there.
 * @throws StartupError if the folder or the password in it cannot be read.
 */
export async function runningEmbedded(dataDir: string): Promise<DatabaseAddress | undefined> {
  const { addressOfRunning } = await import("@conduit/embedded-postgres");
  return withHints(() => addressOfRunning({ ...NAMES, dataDir }));
}

async function withHints<T>(use: () => T | Promise<T>): Promise<T> {
  const { EmbeddedPostgresError } = await import("@conduit/embedded-postgres");
  try {
    return await use();
  } catch (error) {
    if (!(error instanceof EmbeddedPostgresError)) throw error;
    const hint = HINTS[error.code];
    throw new StartupError(hint === undefined ? error.message : `${error.message} ${hint}`, { cause: error });
  }
}
