import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  fsyncSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

/*
 * Files and folders with secrets. Each belongs to the current user, nobody else can read or write it, and it is never
 * reached through a symbolic link: whoever can write to the folder above could otherwise plant a secret that they know, or
 * make the application write over a file of their choice.
 */

/** A file or folder that others can read, or may have planted. The message is one line with what the user can do. */
export class UnsafePathError extends Error {
  override readonly name = "UnsafePathError";
}

const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;

/**
 * The text of a private file; undefined if it does not exist.
 * @throws UnsafePathError if it is a link or no file, belongs to another user, or others can access it.
 */
export function readPrivateFile(path: string): string | undefined {
  let file: number;
  try {
    // Without O_NONBLOCK, opening a pipe waits for a writer.
    file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw isLink(path);
    if (code === "EACCES") {
      throw new UnsafePathError(`${path} belongs to another user. Start the application as its owner, or remove it.`);
    }
    throw error;
  }
  try {
    requirePrivate(path, fstatSync(file), "file");
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

/**
 * Creates a file that only its owner can access, and opens it for writing. If root creates it, it belongs to the owner of
 * the folder.
 * @throws an error with code EEXIST if there is anything with this name, also a link that leads nowhere.
 */
export function createPrivateFile(path: string): number {
  const file = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  if (isRoot()) {
    const { uid, gid } = statSync(dirname(path));
    fchownSync(file, uid, gid);
  }
  return file;
}

/** A private file that does not have its name yet. */
export type PrivateDraft = {
  /** To write to. */
  readonly file: number;
  /** Flushes the file to the disk and names it. Throws an error with code EEXIST if there is anything with its name. */
  publish(): void;
  /** Closes the file, and removes it unless it has its name. */
  discard(): void;
};

/**
 * Begins a private file that is never there in part, also if the process is killed. A hard link gives the finished draft its
 * name, because it fails where a rename replaces. Nobody can guess the name of the draft. Throws like `createPrivateFile`.
 */
export function createPrivateDraft(path: string): PrivateDraft {
  const draft = `${path}.${randomBytes(8).toString("hex")}.draft`;
  const file = createPrivateFile(draft);
  let isOpen = true;
  return {
    file,
    publish() {
      fsyncSync(file);
      linkSync(draft, path);
      flushFolder(dirname(path));
    },
    discard() {
      if (!isOpen) return;
      isOpen = false;
      closeSync(file);
      rmSync(draft, { force: true });
    },
  };
}

/** Creates a private file with this text, whole or not at all. Throws like `createPrivateFile`. */
export function writePrivateFile(path: string, text: string): void {
  const draft = createPrivateDraft(path);
  try {
    writeFileSync(draft.file, text);
    draft.publish();
  } finally {
    draft.discard();
  }
}

/** A new name survives a power failure only after the folder itself is flushed. Windows has no such call. */
export function flushFolder(path: string): void {
  if (process.platform === "win32") return;
  const folder = openSync(path, O_RDONLY);
  fsyncSync(folder);
  closeSync(folder);
}

/** Creates a private folder if it is missing. Throws like `requirePrivateIfThere`. */
export function createPrivateFolder(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (isRoot()) {
      const { uid, gid } = statSync(dirname(path));
      lchownSync(path, uid, gid);
    }
  }
  requirePrivateIfThere(path, "folder");
}

/** @throws UnsafePathError if it is a link or something else, belongs to another user, or others can access it. */
export function requirePrivateIfThere(path: string, kind: "file" | "folder"): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat !== undefined) requirePrivate(path, stat, kind);
}

function requirePrivate(path: string, stat: Stats, kind: "file" | "folder"): void {
  if (stat.isSymbolicLink()) throw isLink(path);
  if (!(kind === "file" ? stat.isFile() : stat.isDirectory())) {
    throw new UnsafePathError(`${path} is not a ${kind}. Move it away.`);
  }
  requireOwn(path, stat);
  if (process.platform !== "win32" && (stat.mode & 0o077) !== 0) {
    throw new UnsafePathError(
      `Other users can access ${path}. Make sure that they have not changed it, then run: chmod ${kind === "file" ? "600" : "700"} ${path}`,
    );
  }
}

/**
 * Root also accepts what belongs to the owner of the folder, who can start the application too.
 * @throws UnsafePathError if it belongs to another user.
 */
export function requireOwn(path: string, stat: Stats): void {
  const currentUid = process.getuid?.();
  if (currentUid === undefined || stat.uid === currentUid) return;
  if (isRoot() && stat.uid === statSync(dirname(path)).uid) return;
  throw new UnsafePathError(
    `${path} belongs to another user (number ${stat.uid}; the current user is ${currentUid}). ` +
      "Start the application as its owner, or remove it.",
  );
}

const isRoot = (): boolean => process.getuid?.() === 0;

function isLink(path: string): UnsafePathError {
  return new UnsafePathError(`${path} is a symbolic link. Replace it with what it leads to, or remove it.`);
}
