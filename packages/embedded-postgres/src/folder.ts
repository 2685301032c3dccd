import { Database } from "bun:sqlite";
import { accessSync, closeSync, constants, mkdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Account } from "./account.ts";
import { diskFullError, EmbeddedPostgresError, folderError, messageOf, systemCode } from "./errors.ts";
import { createPrivateFile, readPrivateFile, requirePrivateIfThere, writePrivateFile } from "./private-files.ts";

/** An existing, writable data folder. */
export type DataFolder = {
  /** As the caller wrote it, for messages. */
  readonly name: string;
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** Owns the folder, and therefore every file beside the cluster. */
  readonly owner: Account;
};

/**
 * Creates the data folder if it is missing (mode 0700), and checks that it is writable.
 * @throws EmbeddedPostgresError if it is not a folder, read-only, on a full disk, or belongs to another user.
 */
export function openDataFolder(name: string): DataFolder {
  try {
    mkdirSync(resolve(name), { recursive: true, mode: 0o700 });
    const path = realpathSync(resolve(name));
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    const { uid, gid, mode } = statSync(path);
    // With the sticky bit, as on a new tmpfs, others cannot replace our files, and theirs are refused one by one.
    if (process.platform !== "win32" && (mode & 0o1002) === 0o002) {
      throw new EmbeddedPostgresError(
        "folder-unusable",
        `Any user can write to the data folder ${name}. Check that its content is yours, then run: chmod o-w ${name}`,
      );
    }
    return { name, path, owner: { uid, gid } };
  } catch (error) {
    const translated = folderError(error, name);
    if (translated instanceof EmbeddedPostgresError) throw translated;
    // For example, the name is too long: the system's message says so.
    throw new EmbeddedPostgresError(
      "folder-unusable",
      `The data folder ${name} cannot be created: ${messageOf(error)}. Use another data folder.`,
      { cause: error },
    );
  }
}

/**
 * Locks the data folder until `release()` or the end of the process, `kill -9` included.
 *
 * SQLite holds the lock, on an empty file: this is the only kernel lock (`fcntl`; `LockFileEx` on Windows) that Bun
 * offers without foreign functions. Unlike a process id in a file, it cannot be stale, and it works across containers
 * that share a folder. It exists before any PostgreSQL does, so it also decides who creates the cluster.
 *
 * @throws EmbeddedPostgresError if another process, or another call in this process, holds the lock.
 */
export async function lockDataFolder(folder: DataFolder): Promise<{ release(): void }> {
  const lockPath = join(folder.path, "postgres.lock");
  const holderPath = join(folder.path, "postgres.lock.pid");
  try {
    createLockFile(lockPath);
    for (const path of [lockPath, `${lockPath}-journal`]) requirePrivateIfThere(path, "file");
  } catch (error) {
    throw folderError(error, folder.name);
  }
  let lock = tryLock(lockPath, folder.name);
  // A process that was killed or stopped at this moment holds the lock until it has ended.
  for (let tries = 0; lock === undefined && tries < 20; tries++) {
    await Bun.sleep(25);
    lock = tryLock(lockPath, folder.name);
  }
  if (lock === undefined) {
    const holder = readHolder(holderPath);
    throw new EmbeddedPostgresError(
      "folder-in-use",
      `The data folder ${folder.name} is already in use by another process${holder === "" ? "" : ` (number ${holder})`}. ` +
        "Stop that process, or use another data folder.",
    );
  }
  const held = lock;
  try {
    // Only for the message above. The lock decides.
    rmSync(holderPath, { force: true });
    writePrivateFile(holderPath, `${process.pid}\n`);
  } catch (error) {
    held.close();
    throw folderError(error, folder.name);
  }
  return {
    release: () => {
      rmSync(holderPath, { force: true });
      // The lock file stays. Removing it would let two processes lock two files with the same name.
      held.close();
    },
  };
}

/**
 * Opens the file only if it does not exist yet: closing a file drops every `fcntl` lock that this process holds on it,
 * including the lock of an earlier call in this process.
 */
function createLockFile(path: string): void {
  try {
    closeSync(createPrivateFile(path));
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

/** @returns undefined if another process, or another call in this process, holds the lock */
function tryLock(path: string, folderName: string): Database | undefined {
  let lock: Database | undefined;
  try {
    lock = new Database(path, { readwrite: true, create: false });
    lock.run("PRAGMA busy_timeout = 0");
    lock.run("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (systemCode(error).startsWith("SQLITE_BUSY")) return undefined;
    if (systemCode(error).startsWith("SQLITE_FULL")) throw diskFullError(folderName);
    throw new EmbeddedPostgresError(
      "folder-unusable",
      `The file ${path} cannot be locked (${messageOf(error)}). ` +
        "It must belong to the user who starts the application, on a file system that supports locks.",
      { cause: error },
    );
  }
}

function readHolder(path: string): string {
  try {
    return readPrivateFile(path)?.trim() ?? "";
  } catch {
    return "";
  }
}
