import { z } from "zod";
import { PURGE_BATCH } from "../db/purge.ts";
import type { Log } from "../observability/log.ts";
import type { JobType } from "./queue.ts";
import { type Task, task } from "./task.ts";

/** Deletes rows that have expired, at most `PURGE_BATCH` a call. Returns how many. */
export type Purge = () => Promise<number>;

// What one run leaves is for the next.
const CLEAN_UP_JOB = {
  name: "clean_up",
  payload: z.object({}),
  attemptsMax: 3,
  timeoutMs: 600_000,
} satisfies JobType<object>;

/**
 * The task that deletes what has expired, once an hour. Each purge is called until it has nothing more to delete. One that
 * fails does not keep the others from running.
 * @param purges by the name of what they delete, for the log
 */
export function cleanUp(purges: Readonly<Record<string, Purge>>, log: Log): Task {
  return task(
    CLEAN_UP_JOB,
    async (_payload, { signal }) => {
      const errors: unknown[] = [];
      for (const [name, purge] of Object.entries(purges)) {
        try {
          let rows = 0;
          for (let batch = PURGE_BATCH; batch >= PURGE_BATCH && !signal.aborted; rows += batch) batch = await purge();
          if (rows > 0) log.info({ "clean_up.of": name, "clean_up.rows": rows }, "deleted what has expired");
        } catch (error) {
          log.warn({ "clean_up.of": name, err: error }, "could not delete what has expired");
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    },
    "17 * * * *",
  );
}
