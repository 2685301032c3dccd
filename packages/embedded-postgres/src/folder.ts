import { Database } from "bun:sqlite";
import {
  accessSync,
  closeSync,
  constants,
  fchownSync,
  lchownSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { StartupError } from "../../../src/config/startup-error.ts";
import type { Account } from "./account.ts";

/** The data folder of one Conduit, checked and writable. */
export type DataFolder = {
  /** As the person wrote it, for messages. */
  readonly name: string;
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** Who owns the folder, and therefore every file that we put beside the cluster. */
  readonly owner: Account;
};

/**
 * Makes the data folder when it is missing (mode 0700) and checks that we may write there.
 * @throws StartupError when it is no folder, read-only, full, or somebody else's.
 */
export function openDataFolder(name: string): DataFolder {
  try {
    mkdirSync(resolve(name), { recursive: true, mode: 0o700 });
    const path = realpathSync(resolve(name));
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    const { uid, gid } = statSync(path);
    return { name, path, owner: { uid, gid } };
  } catch (error) {
    const fault = folderFault(error, name);
    if (fault instanceof StartupError) throw fault;
    // A name that is too long, a folder in which nobody can make one, and so on: the system says what.
    throw new StartupError(
      `The data folder ${name} cannot be made: ${(error as Error).message}. Set DATA_DIR to another folder.`,
      { cause: error },
    );
  }
}

/**
 * Takes the data folder for this process until `release()` or the end of the process, `kill -9` included.
 *
 * The lock is the one that SQLite holds on an empty file, because that is the only lock of the kernel (`fcntl`;
 * `LockFileEx` on Windows) that Bun reaches without foreign functions. Unlike a process number in a file it cannot
 * be stale, it works across containers that share a folder, and it is there before any PostgreSQL is: so it also
 * decides who creates the cluster.
 *
 * @throws StartupError when another Conduit has it.
 */
export async function lockDataFolder(folder: DataFolder): Promise<{ release(): void }> {
  const lockPath = join(folder.path, "conduit.lock");
  const holderPath = join(folder.path, "conduit.pid");
  try {
    createOwned(lockPath, folder.owner);
  } catch (error) {
    throw folderFault(error, folder.name);
  }
  let lock = takeLock(lockPath);
  // A Conduit that was killed or stopped this very moment still has it while its process ends.
  for (let tries = 0; lock === undefined && tries < 20; tries++) {
    await Bun.sleep(25);
    lock = takeLock(lockPath);
  }
  if (lock === undefined) {
    const holder = readHolder(holderPath);
    throw new StartupError(
      `${folder.name} is already in use by another Conduit${holder === "" ? "" : ` (process ${holder})`}. ` +
        "Stop that one, or give this one a folder of its own with DATA_DIR.",
    );
  }
  const taken = lock;
  try {
    // Only for the message above: what counts is the lock.
    rmSync(holderPath, { force: true });
    writeFileSync(holderPath, `${process.pid}\n`, { mode: 0o600, flag: "wx" });
    if (process.getuid?.() === 0) lchownSync(holderPath, folder.owner.uid, folder.owner.gid);
  } catch (error) {
    taken.close();
    throw folderFault(error, folder.name);
  }
  return {
    release: () => {
      rmSync(holderPath, { force: true });
      // The lock file itself stays: to unlink it would let two processes lock two files of the same name.
      taken.close();
    },
  };
}

/**
 * Only ever opened here when it was not there yet: to close a file drops every `fcntl` lock that the process holds
 * on it, also the one of an earlier call in the same process.
 */
function createOwned(path: string, owner: Account): void {
  try {
    const file = openSync(path, "wx", 0o600);
    if (process.getuid?.() === 0) fchownSync(file, owner.uid, owner.gid);
    closeSync(file);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
}

/** @returns undefined when another process, or another call in this one, has it */
function takeLock(path: string): Database | undefined {
  let lock: Database | undefined;
  try {
    lock = new Database(path, { readwrite: true, create: false });
    lock.run("PRAGMA busy_timeout = 0");
    lock.run("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (errorCode(error).startsWith("SQLITE_BUSY")) return undefined;
    throw new StartupError(
      `${path} cannot be locked (${error instanceof Error ? error.message : String(error)}). ` +
        "It must be a file of the user who starts Conduit, on a file system that has locks.",
    );
  }
}

function readHolder(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** Says in one line what is wrong with a folder and what to do; what is no fault of the folder is handed back as it is. */
export function folderFault(error: unknown, name: string): unknown {
  switch (errorCode(error)) {
    case "EROFS":
      return new StartupError(
        `The data folder ${name} is on a read-only file system. Set DATA_DIR to one that can be written.`,
      );
    case "EACCES":
    case "EPERM":
      return new StartupError(
        `The data folder ${name} is not ours to write: it belongs to another user or is read-only. ` +
          "Start Conduit as the folder's owner, or set DATA_DIR to another folder.",
      );
    case "ENOSPC":
    case "EDQUOT":
      return diskFull(name);
    case "ENOTDIR":
    case "EEXIST":
      return new StartupError(
        `The data folder ${name} is not a folder. Set DATA_DIR to a folder, or to a path that is free.`,
      );
    case "EBUSY":
    case "EXDEV":
      return new StartupError(
        `The folder postgres in ${name} is a mount point. Mount the volume on the data folder itself, or set DATA_DIR to the volume.`,
      );
    default:
      return error;
  }
}

/** The disk has no room for the data folder. */
export function diskFull(name: string): StartupError {
  return new StartupError(
    `The disk of the data folder ${name} is full. Make room (an empty database takes 60 MB), then start again.`,
  );
}

/** The `code` of a system or SQLite error (`ENOENT`, `SQLITE_BUSY`), or "". */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}
