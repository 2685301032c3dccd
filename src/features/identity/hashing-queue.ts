import { availableParallelism } from "node:os";
import { unavailable } from "../../http/errors.ts";

/**
 * Bounds on hashing passwords, which takes some 35 ms of a whole core each. One core less than there are is used, so
 * that a flood of logins leaves the rest of the server its own; who comes then waits, and who would wait too long is
 * told so at once.
 */
export type HashingQueue = {
  /** Runs a hashing when it is its turn. Throws 503 with `Retry-After` where too many wait. */
  run<Result>(hashing: () => Promise<Result>): Promise<Result>;
  state(): { readonly underWay: number; readonly waiting: number };
  /** Throws the same 503 where `run` would. */
  checkRoom(): void;
};

/** @param atOnce how many hash at a time  @param waitingMax how many may wait: 100 are some 4 s on one core */
export function createHashingQueue(
  atOnce = Math.max(1, availableParallelism() - 1),
  waitingMax = 100 * atOnce,
): HashingQueue {
  const waiting: (() => void)[] = [];
  let running = 0;

  const checkRoom = () => {
    if (running >= atOnce && waiting.length >= waitingMax) throw unavailable("signing in", 5);
  };

  return {
    state: () => ({ underWay: running, waiting: waiting.length }),
    checkRoom,
    async run(hashing) {
      checkRoom();
      if (running >= atOnce) {
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        running++;
      }
      try {
        return await hashing();
      } finally {
        // The turn is handed over, not given back: nobody who comes now overtakes who waits.
        const next = waiting.shift();
        if (next === undefined) running--;
        else next();
      }
    },
  };
}
