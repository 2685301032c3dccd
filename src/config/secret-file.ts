import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { asStartupError, readPrivateFile, writePrivateFile } from "./private-files.ts";
import { StartupError } from "./startup-error.ts";

/** As many as HS256 requires (RFC 7518, 3.2). */
export const SECRET_BYTES_MIN = 32;

/**
 * The secret in a file: 256 bits as 64 hexadecimal digits, readable by its owner only. Creates the file if it is missing.
 * Two processes that do so at the same time get the same secret.
 * @throws StartupError if the file is a link, belongs to another user, is not private, or is too short.
 */
export function secretFromFile(file: string): string {
  return asStartupError(() => {
    const found = readSecret(file);
    if (found !== undefined) return found;
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    try {
      writePrivateFile(file, `${randomBytes(SECRET_BYTES_MIN).toString("hex")}\n`);
    } catch (error) {
      // Another process was faster.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const secret = readSecret(file);
    if (secret === undefined) throw new Error(`${file} disappeared`);
    return secret;
  });
}

function readSecret(file: string): string | undefined {
  const secret = readPrivateFile(file)?.trim();
  if (secret !== undefined && Buffer.byteLength(secret) < SECRET_BYTES_MIN) {
    throw new StartupError(
      `The secret in ${file} has only ${Buffer.byteLength(secret)} bytes, but ${SECRET_BYTES_MIN} are the minimum. Restore the file, or remove it: the next start creates one, and everyone has to sign in again.`,
    );
  }
  return secret;
}
