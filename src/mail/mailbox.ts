import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
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

/** @param folder made when the first message comes; readable by its owner alone, as messages hold links */
export function openMailbox(folder: string): Mailbox {
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
    try {
      return JSON.parse(await readFile(join(folder, `${name}.json`), "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  return {
    async send(message) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const kept: KeptMessage = { ...message, arrivedAt: new Date().toISOString() };
      const name = `${Date.now()}-${crypto.randomUUID()}`;
      // Whole or not at all: given its name when it is written.
      const draft = join(folder, `${name}.draft`);
      await writeFile(draft, JSON.stringify(kept, null, 2), { mode: 0o600 });
      await rename(draft, join(folder, `${name}.json`));
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
