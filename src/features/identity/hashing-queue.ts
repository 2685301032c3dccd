import { availableParallelism } from "node:os";
import { unavailable } from "../../http/errors.ts";

/**
 * Bounds the hashing of passwords, each of which takes about 35 ms of a core. It uses one core less than there are, so that
 * a flood of logins leaves time for the rest of the server. Further callers wait; beyond a limit they are refused at once.
 */
export type HashingQueue = {
  /** Runs `hash` when a core is free, in the order of the calls. Throws 503 with `Retry-After` if too many wait. */
  run<Result>(hash: () => Promise<Result>): Promise<Result>;
  state(): { readonly running: number; readonly waiting: number };
  /** Throws the same 503 if `run` would. */
  checkRoom(): void;
};

/** @param runningMax how many hash at a time  @param waitingMax how many may wait: 100 take about 4 s on one core */
export function createHashingQueue(
  runningMax = Math.max(1, availableParallelism() - 1),
  waitingMax = 100 * runningMax,
): HashingQueue {
  const waiting: (() => void)[] = [];
  let running = 0;

  const checkRoom = () => {
    if (running >= runningMax && waiting.length >= waitingMax) throw unavailable("signing in", 5);
  };

  return {
    state: () => ({ running, waiting: waiting.length }),
    checkRoom,
    async run(hash) {
      checkRoom();
      if (running >= runningMax) {
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        running++;
      }
      try {
        return await hash();
      } finally {
        // The next waiter takes this place, so that a new caller cannot overtake it.
        const next = waiting.shift();
        if (next === undefined) running--;
        else next();
      }
    },
  };
}
