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
  /** Whether one of the topics has changed after the change with this number, or may have. */
  haveTouched(topics: readonly string[], since: number): boolean;
};

/** A flood of changes takes no more memory than this many topics. */
const TOPICS_MAX = 100_000;

/** How many times are marked while a change is remembered: changes are forgotten in so many parts. */
const MARKS = 16;

/** @param keptMs how long a change is remembered at least, unless there are more than `TOPICS_MAX` */
export function createChanges(keptMs: number): Changes {
  let count = 0;
  /** Of changes up to this number, those of some topics are no longer known: each may have changed. */
  let forgotten = 0;
  /** The number of the last change of each topic. The one that changed longest ago comes first. */
  const latest = new Map<string, number>();
  /** The number of the last change at some times, oldest first. */
  const marks: { readonly at: number; readonly count: number }[] = [];

  function forgetOld(now: number): void {
    for (let mark = marks[0]; mark !== undefined && now - mark.at > keptMs; mark = marks[0]) {
      forgotten = Math.max(forgotten, mark.count);
      marks.shift();
    }
    for (const [topic, number] of latest) {
      if (number > forgotten && latest.size <= TOPICS_MAX) break;
      latest.delete(topic);
      forgotten = Math.max(forgotten, number);
    }
  }

  function addEverything(): void {
    forgotten = ++count;
    latest.clear();
  }

  return {
    count: () => count,
    add(topics) {
      count++;
      for (const topic of topics) {
        latest.delete(topic);
        latest.set(topic, count);
      }
      const now = performance.now();
      const last = marks.at(-1);
      if (last === undefined || now - last.at > keptMs / MARKS) marks.push({ at: now, count });
      forgetOld(now);
    },
    addEverything,
    haveTouched(topics, since) {
      if (forgotten > since) return true;
      for (const topic of topics) {
        if ((latest.get(topic) ?? 0) > since) return true;
      }
      return false;
    },
  };
}
