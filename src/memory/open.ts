import type { Subscriber } from "../db/listener.ts";
import type { Database } from "../db/pool.ts";
import type { Log } from "../observability/log.ts";
import { createMemory, type Memory, type MemoryOptions } from "./memory.ts";
import { createNotices, followNotices } from "./notices.ts";

export type OpenMemoryOptions = Omit<MemoryOptions, "report" | "isAway"> & {
  /** The same for all processes of a server. */
  readonly serverId: string;
  /** Tells the other processes of this server what has changed; resolves when they have forgotten it. */
  readonly reportToWorkers: (topics: readonly string[]) => Promise<void>;
};

export type OpenMemory = {
  readonly memory: Memory;
  /** For the listener, which turns memory on when it hears other instances. */
  readonly subscribers: readonly Subscriber[];
  stop(): Promise<void>;
};

/** The memory of a process that notifies all others of its changes. It does so also if it is off, for the others. */
export function openMemory(
  { serverId, reportToWorkers, ...options }: OpenMemoryOptions,
  db: Database,
  log: Log,
): OpenMemory {
  const notices = createNotices(db, serverId, log);
  const memory = createMemory({
    ...options,
    isAway: db.isAway,
    report(topics) {
      notices.send(topics);
      return reportToWorkers(topics);
    },
  });
  return {
    memory,
    subscribers: options.bytesMax === 0 ? [] : [followNotices(memory, serverId)],
    stop: notices.stop,
  };
}
