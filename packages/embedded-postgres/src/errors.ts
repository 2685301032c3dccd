import { UnsafePathError } from "./private-files.ts";

/** What kind of problem stopped PostgreSQL from starting. The README explains each one. */
export type EmbeddedPostgresErrorCode =
  | "not-installed"
  | "cannot-run"
  | "folder-unusable"
  | "folder-in-use"
  | "disk-full"
  | "incompatible-version"
  | "not-started";

/** PostgreSQL cannot start. The message is one line: what is wrong, and what the user can do about it. */
export class EmbeddedPostgresError extends Error {
  override readonly name = "EmbeddedPostgresError";
  readonly code: EmbeddedPostgresErrorCode;

  constructor(code: EmbeddedPostgresErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Translates an error of the file system into what the user can do about the data folder.
 * @returns the error itself if it is not about the folder
 */
export function folderError(error: unknown, folderName: string): unknown {
  if (error instanceof UnsafePathError) return new EmbeddedPostgresError("folder-unusable", error.message);
  switch (systemCode(error)) {
    case "EROFS":
      return new EmbeddedPostgresError(
        "folder-unusable",
        `The data folder ${folderName} is on a read-only file system. Use a data folder on a writable one.`,
      );
    case "EACCES":
    case "EPERM":
      return new EmbeddedPostgresError(
        "folder-unusable",
        `The data folder ${folderName} is not writable: it belongs to another user or is read-only. ` +
          "Start the application as the folder's owner, or use another data folder.",
      );
    case "ENOSPC":
    case "EDQUOT":
      return diskFullError(folderName);
    case "ENOTDIR":
    case "EEXIST":
      return new EmbeddedPostgresError(
        "folder-unusable",
        `The data folder ${folderName} is not a folder. Use a folder, or a path that does not exist yet.`,
      );
    case "EBUSY":
    case "EXDEV":
      return new EmbeddedPostgresError(
        "folder-unusable",
        `The folder postgres in ${folderName} is a mount point. ` +
          "Mount the volume on the data folder itself, or use the volume as data folder.",
      );
    default:
      return error;
  }
}

export function diskFullError(folderName: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    "disk-full",
    `The disk of the data folder ${folderName} is full. Free some space (an empty database takes 60 MB), then start again.`,
  );
}

/** The `code` of a system or SQLite error (`ENOENT`, `SQLITE_BUSY`), or "". */
export function systemCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
