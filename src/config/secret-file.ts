import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * The secret in a file: 256 bits as 64 hexadecimal digits, readable by its owner only. Creates the file if it is missing.
 * Two processes that do so at the same time get the same secret.
 */
export function secretFromFile(file: string): string {
  const found = readSecret(file);
  if (found !== undefined) return found;
  mkdirSync(dirname(file), { recursive: true });
  // A link gives the finished file its name, so it is never there in part. It fails if another process was faster.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flush: true });
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  const secret = readSecret(file);
  if (secret === undefined) throw new Error(`${file} contains no secret`);
  return secret;
}

function readSecret(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
