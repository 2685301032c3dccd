import { createHmac } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  asStartupError,
  createPrivateFolder,
  readPrivateFile,
  requirePrivateIfThere,
  writePrivateFile,
} from "../config/private-files.ts";
import type { Message, Transport } from "./transport.ts";

/** A message as it lies in the mailbox, with the time of its arrival. */
export type KeptMessage = Message & { readonly arrivedAt: string };

/** Messages kept in files instead of being sent: for development. */
export type Mailbox = Transport & {
  /** The newest first. */
  list(): Promise<{ name: string; message: KeptMessage }[]>;
  /** Undefined where there is none of this name. */
  read(name: string): Promise<KeptMessage | undefined>;
};

/** How many are kept. */
const KEPT_MAX = 200;

const NAME = /^[0-9]{13}-[0-9a-f-]{36}$/;

/**
 * The key in the link to the mailbox. It follows from the secret that signs tokens, so that all workers accept it, and the
 * link still works after a restart.
 */
export function mailboxKey(secret: string): string {
  return createHmac("sha256", secret).update("development mailbox").digest("base64url");
}

/**
 * @param folder made when the first message comes; readable by its owner alone, as messages hold links
 * @throws StartupError if it is a link, or others can access it
 */
export function openMailbox(folder: string): Mailbox {
  asStartupError(() => requirePrivateIfThere(folder, "folder"));

  async function names(): Promise<string[]> {
    try {
      const files = await readdir(folder);
      const found = files.flatMap((file) => (file.endsWith(".json") ? [file.slice(0, -".json".length)] : []));
      return found
        .filter((name) => NAME.test(name))
        .sort()
        .reverse();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }

  async function read(name: string): Promise<KeptMessage | undefined> {
    if (!NAME.test(name)) return undefined;
    const text = readPrivateFile(join(folder, `${name}.json`));
    return text === undefined ? undefined : JSON.parse(text);
  }

  return {
    async send(message) {
      createPrivateFolder(folder);
      const kept: KeptMessage = { ...message, arrivedAt: new Date().toISOString() };
      const name = `${Date.now()}-${crypto.randomUUID()}`;
      writePrivateFile(join(folder, `${name}.json`), JSON.stringify(kept, null, 2));
      for (const old of (await names()).slice(KEPT_MAX)) await rm(join(folder, `${old}.json`), { force: true });
    },
    close() {},
    async list() {
      const found = await Promise.all((await names()).map(async (name) => ({ name, message: await read(name) })));
      return found.flatMap(({ name, message }) => (message === undefined ? [] : [{ name, message }]));
    },
    read,
  };
}
