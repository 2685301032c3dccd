import { createHash, type Hash } from "node:crypto";
import { lstatSync, writeFileSync } from "node:fs";
import { constants, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { createPrivateDraft } from "../../config/private-files.ts";
import { StartupError } from "../../config/startup-error.ts";
import { InvalidBackup, LINE_CHARACTERS_MAX } from "./format.ts";

/** @throws StartupError if there is anything with this name, also a link that leads nowhere. */
export function requireNew(path: string): void {
  let isThere: boolean;
  try {
    isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw cannotWrite(path, error);
  }
  if (isThere) throw exists(path);
}

const exists = (path: string): StartupError => new StartupError(`${path} exists already. Choose another name.`);

/**
 * Writes lines and their checksum to a new file that only its owner can access, because a backup has password hashes. The
 * file is there in whole or not at all.
 * @throws StartupError if it exists or cannot be written
 */
export async function writeLines(path: string, lines: AsyncIterable<string>): Promise<void> {
  let draft: ReturnType<typeof createPrivateDraft>;
  try {
    draft = createPrivateDraft(path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
  // Also if a signal ends the process.
  process.on("exit", draft.discard);
  try {
    await pipeline(Readable.from(sealed(lines)), createGzip(), async (chunks: AsyncIterable<Uint8Array>) => {
      for await (const chunk of chunks) writeFileSync(draft.file, chunk);
    });
    draft.publish();
  } catch (error) {
    throw cannotWrite(path, error);
  } finally {
    draft.discard();
    process.off("exit", draft.discard);
  }
}

function cannotWrite(path: string, error: unknown): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  // The database's errors, and ours.
  if (syscall === undefined || code === undefined) return error;
  if (code === "EEXIST") return exists(path);
  const reason =
    syscall === "link" ? "this file system has no hard links. Choose another folder, and copy the file" : message;
  return new StartupError(`${path} cannot be written: ${reason}.`, { cause: error });
}

/** The lines, followed by the hash of them all. */
async function* sealed(lines: AsyncIterable<string>): AsyncGenerator<string> {
  const hash = createHash("sha256");
  for await (const line of lines) {
    hash.update(line);
    yield line;
  }
  yield `${sealOf(hash)}\n`;
}

const sealOf = (hash: Hash): string => JSON.stringify({ sha256: hash.digest("hex") });

/**
 * The lines of a backup without the checksum, which is verified after the last one: until then nothing is certain. Holds no
 * more than a few lines in memory, whatever the file contains.
 * @throws InvalidBackup; StartupError if the file cannot be read
 */
export async function* readLines(path: string): AsyncGenerator<string> {
  const hash = createHash("sha256");
  let last: string | undefined;
  for await (const line of split(unzip(path))) {
    if (last !== undefined) {
      hash.update(`${last}\n`);
      yield last;
    }
    last = line;
  }
  if (last === undefined || !last.startsWith('{"sha256"')) throw new InvalidBackup("it does not end with a checksum");
  if (last !== sealOf(hash)) throw new InvalidBackup("its checksum does not match");
}

async function* unzip(path: string): AsyncGenerator<Uint8Array> {
  const file = await openFile(path);
  const source = file.createReadStream();
  const unzipped = createGunzip();
  source.on("error", (error) => unzipped.destroy(error));
  try {
    yield* source.pipe(unzipped);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith("Z_")) throw new InvalidBackup(`gzip reports "${message}"`);
    throw cannotRead(path, error);
  } finally {
    source.destroy();
    unzipped.destroy();
  }
}

/** Through links and of any owner, as the user chose the file. */
async function openFile(path: string) {
  try {
    // Without O_NONBLOCK, opening a pipe waits for a writer.
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (error) {
    throw cannotRead(path, error);
  }
  throw new StartupError(`${path} is not a file.`);
}

function cannotRead(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return new StartupError(`${path} does not exist.`);
  return code === undefined ? error : new StartupError(`${path} cannot be read: ${message}.`, { cause: error });
}

async function* split(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const decode = (chunk?: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      throw new InvalidBackup("it is not UTF-8");
    }
  };
  let rest: string[] = [];
  let restCharacters = 0;
  for await (const chunk of chunks) {
    const [first = "", ...others] = decode(chunk).split("\n");
    rest.push(first);
    restCharacters += first.length;
    if (restCharacters > LINE_CHARACTERS_MAX) throw new InvalidBackup("it has a line that is too long");
    const next = others.pop();
    if (next === undefined) continue;
    yield rest.join("");
    yield* others;
    rest = [next];
    restCharacters = next.length;
  }
  if (restCharacters > 0 || decode() !== "") throw new InvalidBackup("its last line is incomplete");
}
