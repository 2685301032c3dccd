import type { DatabaseAddress } from "../config/database-address.ts";
import type { PoolLimits } from "../db/bounded-pool.ts";
import type { Subscriber } from "../db/listener.ts";
import type { Log } from "../observability/log.ts";
import { createMemory, type Memory } from "./memory.ts";
import { followNotices, openNotices } from "./notices.ts";

export type MemoryOptions = {
  /** How much memory values may take in this process; 0 turns memory off. */
  readonly bytesMax: number;
  /** The same for all processes of a server. */
  readonly serverId: string;
  /** Tells the other processes of this server what has changed; resolves when they have forgotten it. */
  readonly tellSiblings: (topics: readonly string[]) => Promise<void>;
};

export type OpenMemory = {
  readonly memory: Memory;
  /** For the listener, which turns memory on when it hears other instances. */
  readonly subscribers: readonly Subscriber[];
  stop(): Promise<void>;
};

/** The memory of a process that notifies all others of its changes. It does so also if it is off, for the others. */
export function openMemory(
  { bytesMax, serverId, tellSiblings }: MemoryOptions,
  address: DatabaseAddress,
  limits: PoolLimits,
  log: Log,
): OpenMemory {
  const notices = openNotices(address, limits, serverId, log);
  const memory = createMemory(bytesMax, (topics) => {
    notices.send(topics);
    return tellSiblings(topics);
  });
  return {
    memory,
    subscribers: bytesMax === 0 ? [] : [followNotices(memory, serverId)],
    stop: notices.stop,
  };
}
