/** Remembers what was used lately, at least the last `max` keys and at most twice as many. */
export type Recent<Value> = {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  readonly size: number;
};

/**
 * Two maps: where the newer one is full, the older one is let go with all that nobody has asked for since. An eviction of
 * the single oldest key takes longer each time with a `Map` of JavaScriptCore, which steps over all that were deleted.
 */
export function createRecent<Value>(max: number): Recent<Value> {
  let newer = new Map<string, Value>();
  let older = new Map<string, Value>();
  const set = (key: string, value: Value): void => {
    if (newer.size >= max) {
      older = newer;
      newer = new Map();
    }
    newer.set(key, value);
  };
  return {
    get(key) {
      const found = newer.get(key);
      if (found !== undefined) return found;
      const before = older.get(key);
      if (before !== undefined) set(key, before);
      return before;
    },
    set,
    get size() {
      return newer.size + older.size;
    },
  };
}
