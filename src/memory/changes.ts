/**
 * The latest changes, by topic. Whoever reads the database notes the number of the last change before, and may use what it
 * read as long as none of its topics has changed after that number. So a change and a load may overlap in any order.
 */
export type Changes = {
  /** The number of the last change; 0 if there was none. */
  count(): number;
  /** Records that topics have changed. */
  add(topics: Iterable<string>): void;
  /** Records that anything may have changed. */
  addEverything(): void;
  /** Whether one of the topics has changed after the change with this number, which is at most `keptMs` old. */
  haveTouched(topics: readonly string[], since: number): boolean;
};

/** A flood of changes takes no more memory than this many topics: beyond it, everything counts as changed. */
const TOPICS_MAX = 100_000;

/** @param keptMs how long a change is remembered at least */
export function createChanges(keptMs: number): Changes {
  let count = 0;
  let everything = 0;
  // Two generations: a change moves from the first to the second, and is then forgotten.
  let recent = new Map<string, number>();
  let older = new Map<string, number>();
  let recentSince = performance.now();

  function addEverything(): void {
    everything = ++count;
    recent.clear();
    older.clear();
  }

  return {
    count: () => count,
    add(topics) {
      const now = performance.now();
      if (now - recentSince > keptMs) {
        older = recent;
        recent = new Map();
        recentSince = now;
      }
      count++;
      for (const topic of topics) recent.set(topic, count);
      if (recent.size > TOPICS_MAX) addEverything();
    },
    addEverything,
    haveTouched(topics, since) {
      if (everything > since) return true;
      for (const topic of topics) {
        if ((recent.get(topic) ?? older.get(topic) ?? 0) > since) return true;
      }
      return false;
    },
  };
}
