import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
} from "node:fs";
import { join } from "node:path";
import { EmbeddedPostgresError, folderError, systemCode } from "./errors.ts";
import type { DataFolder } from "./folder.ts";
import { requireOwn } from "./private-files.ts";

const maxBytes = 10 * 1024 * 1024;

/** The file with PostgreSQL's messages. */
export function logPathIn(folder: DataFolder): string {
  return join(folder.path, "postgres.log");
}

/**
 * Renames the log if it has grown too large.
 * @returns the size of the log in bytes, which is where the next server begins to write
 */
export function rotateLog(folder: DataFolder): number {
  const path = logPathIn(folder);
  const bytes = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes <= maxBytes) return bytes;
  renameSync(path, `${path}.1`);
  return 0;
}

/**
 * Opens the log for appending, so that PostgreSQL's user needs no access to it. Does not follow a symbolic link: root may
 * start PostgreSQL in the folder of another user, who could point the link at any file.
 */
export function openLog(folder: DataFolder): number {
  const { O_APPEND, O_CREAT, O_WRONLY, O_NOFOLLOW = 0 } = constants;
  const path = logPathIn(folder);
  try {
    const log = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    try {
      const stat = fstatSync(log);
      requireOwn(path, stat);
      if (process.getuid?.() === 0 && stat.nlink === 1) fchownSync(log, folder.owner.uid, folder.owner.gid);
      return log;
    } catch (error) {
      closeSync(log);
      throw error;
    }
  } catch (error) {
    if (systemCode(error) === "ELOOP") {
      throw new EmbeddedPostgresError("folder-unusable", `${path} must be a file, not a link. Remove it.`);
    }
    throw folderError(error, folder.name);
  }
}

/** What PostgreSQL has logged since `start`, an offset in bytes. */
export function logSince(folder: DataFolder, start: number): string {
  try {
    return readFileSync(logPathIn(folder)).subarray(start).toString();
  } catch {
    return "";
  }
}

/** Empties the log of a running server if it has grown too large. */
export function truncateLargeLog(folder: DataFolder): void {
  let log: number | undefined;
  try {
    log = openLog(folder);
    // PostgreSQL appends, so it continues at the new end of the file.
    if (fstatSync(log).size > maxBytes) ftruncateSync(log);
  } catch {
    // A large log is no reason to stop the application.
  } finally {
    if (log !== undefined) closeSync(log);
  }
}
