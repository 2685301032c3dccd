import { LRUCache } from "lru-cache";
import { createChanges } from "./changes.ts";

/** How long a value is served after the load that read it began: whatever nobody reported is visible after this time. */
export const AGE_MAX_MS = 2_000;
/** A value that is read when it is older than this part of its life is loaded again meanwhile. */
const AGING = 1 / 2;
/** A value may take this part of the memory. */
const VALUE_SHARE_MAX = 1 / 64;

/** What a load read: a value, the topics it depends on, and how much memory it takes, in bytes. */
export type Loaded<Value> = { readonly value: Value; readonly topics: readonly string[]; readonly bytes: number };

/** Values of one kind, by keys. */
export type Shelf<Value> = {
  /**
   * The value under a key, if it is in memory, has not changed and is not too old; otherwise undefined.
   * @param reload called if the value is about to become too old; it calls `load`
   */
  find(key: string, reload?: () => unknown): Value | undefined;
  /**
   * Reads a value from the database and keeps it. Joins a load of the same key that is in flight, unless something has
   * changed since that began. Whoever waits for a load gets its value, also if it has changed meanwhile, as the value was
   * right when they asked; but then it is not kept.
   */
  load(key: string, read: () => Promise<Loaded<Value>>): Promise<Value>;
};

export type Memory = {
  shelf<Value>(name: string): Shelf<Value>;
  /** Reports what a write has changed, before its response is sent. Resolves when every process of this server knows. */
  changed(topics: readonly string[]): Promise<void>;
  /** Forgets what another process has changed. */
  forget(topics: readonly string[]): void;
  /** Forgets everything, when reports of other processes may have been lost. */
  forgetEverything(): void;
  /** Whether values are kept and served. They are only while other processes can report what they change. */
  isServing(): boolean;
  setServing(isServing: boolean): void;
  /** Ends serving at this time, by `performance.now()`. Without a call, there is no end. */
  serveUntil(time: number): void;
  state(): MemoryState;
};

export type MemoryState = {
  readonly hits: number;
  readonly misses: number;
  /** Reports of changes, of this process and others. */
  readonly changes: number;
  readonly values: number;
  readonly bytes: number;
};

type Entry = {
  readonly value: unknown;
  readonly topics: readonly string[];
  /** The last change before the load began. */
  readonly since: number;
  readonly loadedAt: number;
  /** The last change that is known not to have touched the topics. */
  checked: number;
  isReloading: boolean;
};

type Flight = { readonly since: number; readonly startedAt: number; readonly value: Promise<unknown> };

export type MemoryOptions = {
  /** How much the values may take; 0 keeps none. */
  readonly bytesMax: number;
  readonly ageMaxMs?: number;
  /** Reports to other processes what this one has changed; resolves when those of this server know. */
  tellOthers(topics: readonly string[]): Promise<void>;
};

/**
 * Values that were read from the database, for other requests that need the same. The one that was used longest ago goes
 * first.
 */
export function createMemory({ bytesMax, ageMaxMs = AGE_MAX_MS, tellOthers }: MemoryOptions): Memory {
  const changes = createChanges(ageMaxMs);
  const entries =
    bytesMax === 0
      ? undefined
      : new LRUCache<string, Entry>({ maxSize: bytesMax, maxEntrySize: Math.max(1, bytesMax * VALUE_SHARE_MAX) });
  const flights = new Map<string, Flight>();
  let isOpen = false;
  let openUntil = Number.POSITIVE_INFINITY;
  let hits = 0;
  let misses = 0;

  const isServing = () => isOpen && entries !== undefined && performance.now() < openUntil;

  function find(key: string, reload?: () => unknown): unknown {
    const entry = isServing() ? entries?.get(key) : undefined;
    if (entry === undefined) {
      misses++;
      return undefined;
    }
    const ageMs = performance.now() - entry.loadedAt;
    if (ageMs > ageMaxMs || hasChanged(entry)) {
      entries?.delete(key);
      misses++;
      return undefined;
    }
    if (ageMs > ageMaxMs * AGING && !entry.isReloading && reload !== undefined) {
      entry.isReloading = true;
      reload();
    }
    hits++;
    return entry.value;
  }

  function hasChanged(entry: Entry): boolean {
    const count = changes.count();
    if (entry.checked === count) return false;
    if (changes.haveTouched(entry.topics, entry.since)) return true;
    entry.checked = count;
    return false;
  }

  async function load(key: string, read: () => Promise<Loaded<unknown>>): Promise<unknown> {
    if (!isServing()) return (await read()).value;
    const since = changes.count();
    const startedAt = performance.now();
    const flight = flights.get(key);
    if (flight !== undefined && flight.since === since && startedAt - flight.startedAt < ageMaxMs) {
      return await flight.value;
    }
    const started: Flight = { since, startedAt, value: readAndKeep(key, read, since, startedAt) };
    flights.set(key, started);
    try {
      return await started.value;
    } finally {
      // A later load may have taken its place.
      if (flights.get(key) === started) flights.delete(key);
    }
  }

  async function readAndKeep(
    key: string,
    read: () => Promise<Loaded<unknown>>,
    since: number,
    loadedAt: number,
  ): Promise<unknown> {
    const { value, topics, bytes } = await read();
    const entry: Entry = { value, topics, since, loadedAt, checked: since, isReloading: false };
    if (!hasChanged(entry)) entries?.set(key, entry, { size: sizeOf(key, topics, bytes) });
    return value;
  }

  return {
    shelf<Value>(name: string) {
      return {
        find: (key, reload) => find(`${name} ${key}`, reload) as Value | undefined,
        load: (key, read) => load(`${name} ${key}`, read) as Promise<Value>,
      } satisfies Shelf<Value>;
    },
    changed(topics) {
      changes.add(topics);
      return tellOthers(topics);
    },
    forget: changes.add,
    forgetEverything: changes.addEverything,
    isServing,
    setServing(now) {
      isOpen = now;
      if (!now) entries?.clear();
    },
    serveUntil(time) {
      openUntil = time;
    },
    state: () => ({
      hits,
      misses,
      changes: changes.count(),
      values: entries?.size ?? 0,
      bytes: entries?.calculatedSize ?? 0,
    }),
  };
}

/** What an entry takes besides its value: objects, the place in the cache, and a text for each topic. In bytes. */
const ENTRY_BYTES = 500;
const TOPIC_BYTES = 64;

const sizeOf = (key: string, topics: readonly string[], bytes: number): number =>
  bytes + key.length + ENTRY_BYTES + topics.length * TOPIC_BYTES;
