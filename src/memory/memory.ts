import { LRUCache } from "lru-cache";
import { createChanges } from "./changes.ts";

/** How long a value is served after the load that read it began: whatever nobody reported is visible after this time. */
export const AGE_MAX_MS = 2_000;
/** A value that is read when it is older than this part of its life is loaded again meanwhile. */
const AGING = 3 / 4;
/** A larger value is not kept, so that a few of them do not replace all others. */
const VALUE_BYTES_MAX = 512 * 1024;

/** A value that was used within this time is revalidated. */
const LATELY_MS = 10_000;
/** How many values are revalidated at a time. */
const REVALIDATED_MAX = 500;

/** What a load read. */
export type Loaded<Value> = {
  readonly value: Value;
  /** On what the value depends. */
  readonly topics: readonly string[];
  /** How much memory the value takes. */
  readonly bytes: number;
  readonly version?: Version | undefined;
};

/** A thing in the database, and its version, which differs after each change of what the value shows of it. */
export type Version = { readonly id: string; readonly version: string };

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
  /**
   * While the database is away: the value under a key, if it is in memory, is not known to have changed, and is not older
   * than `staleMaxMs`. Otherwise undefined.
   */
  findStale(key: string): Stale<Value> | undefined;
};

/** A value, and the time since the load that read it began. */
export type Stale<Value> = { readonly value: Value; readonly ageMs: number };

export type Memory = {
  shelf<Value>(name: string): Shelf<Value>;
  /** Reports what a write has changed, before its response is sent. Resolves when every process of this server knows. */
  changed(topics: readonly string[]): Promise<void>;
  /** Forgets what another process has changed. */
  forget(topics: readonly string[]): void;
  /** Forgets everything, when reports of other processes may have been lost. */
  forgetEverything(): void;
  /**
   * Extends the life of the values that have a version and were used in the last seconds, if it is still the same.
   * @param findChanged returns the ids of those that have another version in the database
   */
  revalidate(findChanged: (versions: readonly Version[]) => Promise<readonly string[]>): Promise<void>;
  /** Whether values are kept and served. They are only while other processes can report what they change. */
  isServing(): boolean;
  /** Forgets everything when it ends serving, unless the database is away: that may be served by `findStale`. */
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
  readonly version: Version | undefined;
  /** The last change before the value was read or revalidated, and when that began. */
  since: number;
  loadedAt: number;
  /** The last change that is known not to have touched the topics. */
  checked: number;
  usedAt: number;
  isReloading: boolean;
};

type Flight = { readonly since: number; readonly startedAt: number; readonly value: Promise<unknown> };

export type MemoryOptions = {
  /** How much the values may take; 0 keeps none. */
  readonly bytesMax: number;
  readonly ageMaxMs?: number;
  /** How old values may be that are served while the database is away; 0 by default. */
  readonly staleMaxMs?: number;
  /** Whether the database cannot be reached; never by default. */
  readonly isAway?: () => boolean;
  /** Reports to other processes what this one has changed; resolves when those of this server know. */
  report(topics: readonly string[]): Promise<void>;
};

/**
 * Values that were read from the database, for other requests that need the same. The one that was used longest ago goes
 * first.
 */
export function createMemory(options: MemoryOptions): Memory {
  const { bytesMax, ageMaxMs = AGE_MAX_MS, staleMaxMs = 0, isAway = () => false, report } = options;
  const keptMs = Math.max(ageMaxMs, staleMaxMs);
  const changes = createChanges(keptMs);
  const entries =
    bytesMax === 0
      ? undefined
      : new LRUCache<string, Entry>({ maxSize: bytesMax, maxEntrySize: Math.min(bytesMax, VALUE_BYTES_MAX) });
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
    const now = performance.now();
    const ageMs = now - entry.loadedAt;
    // Also of one that is too old: values are in the order of their last use.
    entry.usedAt = now;
    const isUseless = ageMs > keptMs || hasChanged(entry);
    if (isUseless) entries?.delete(key);
    if (isUseless || ageMs > ageMaxMs) {
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

  function findStale(key: string): Stale<unknown> | undefined {
    const entry = entries?.get(key);
    if (entry === undefined) return undefined;
    const now = performance.now();
    const ageMs = now - entry.loadedAt;
    entry.usedAt = now;
    return ageMs > staleMaxMs || hasChanged(entry) ? undefined : { value: entry.value, ageMs };
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
    const { value, topics, bytes, version } = await read();
    const usedAt = performance.now();
    const entry: Entry = { value, topics, version, since, loadedAt, checked: since, usedAt, isReloading: false };
    if (!hasChanged(entry)) entries?.set(key, entry, { size: sizeOf(key, topics, bytes) });
    return value;
  }

  async function revalidate(findChanged: Parameters<Memory["revalidate"]>[0]): Promise<void> {
    for (const batch of chunksOf(usedLately(), REVALIDATED_MAX)) {
      const since = changes.count();
      const startedAt = performance.now();
      const changed = new Set(await findChanged(batch.map(({ version }) => version)));
      for (const { key, entry, version } of batch) {
        // A load may have taken its place.
        if (entries?.peek(key) !== entry) continue;
        if (changed.has(version.id) || hasChanged(entry)) entries.delete(key);
        else Object.assign(entry, { since, loadedAt: startedAt, checked: since });
      }
    }
  }

  function usedLately(): { key: string; entry: Entry; version: Version }[] {
    const found: ReturnType<typeof usedLately> = [];
    if (!isServing()) return found;
    const since = performance.now() - LATELY_MS;
    // The one that was used last comes first.
    for (const [key, entry] of entries?.entries() ?? []) {
      if (entry.usedAt < since) break;
      if (entry.version !== undefined) found.push({ key, entry, version: entry.version });
    }
    return found;
  }

  return {
    shelf<Value>(name: string) {
      return {
        find: (key, reload) => find(`${name} ${key}`, reload) as Value | undefined,
        load: (key, read) => load(`${name} ${key}`, read) as Promise<Value>,
        findStale: (key) => (isAway() ? (findStale(`${name} ${key}`) as Stale<Value> | undefined) : undefined),
      } satisfies Shelf<Value>;
    },
    changed(topics) {
      changes.add(topics);
      return report(topics);
    },
    forget: changes.add,
    forgetEverything: changes.addEverything,
    revalidate,
    isServing,
    setServing(now) {
      isOpen = now;
      // While the database is away, nothing changes that another process could report.
      if (now || isAway()) return;
      entries?.clear();
      // For what is being loaded.
      changes.addEverything();
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

function* chunksOf<Item>(items: readonly Item[], size: number): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}

/** What an entry takes besides its value: objects, the place in the cache, and a text for each topic. In bytes. */
const ENTRY_BYTES = 1_200;
const TOPIC_BYTES = 160;

const sizeOf = (key: string, topics: readonly string[], bytes: number): number =>
  bytes + key.length + ENTRY_BYTES + topics.length * TOPIC_BYTES;
