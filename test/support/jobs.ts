import type { SQL } from "bun";
import { until } from "./until.ts";

/** A job in the queue. */
export type QueuedJob = {
  id: string;
  attempts: number;
  last_error: string | null;
  isRunning: boolean;
  isDead: boolean;
  /** Waits for its next attempt. */
  waits: boolean;
  payload: Record<string, unknown>;
};

/** The jobs of one type, oldest first. */
export async function jobsOf(sql: SQL, name: string): Promise<QueuedJob[]> {
  return [
    ...(await sql`
      select j.id::text, attempts::int, last_error, locked_at is not null as "isRunning",
             locked_at is null and attempts >= max_attempts as "isDead",
             locked_at is null and attempts < max_attempts and attempts > 0 as waits, payload
        from graphile_worker._private_jobs j join graphile_worker._private_tasks t on t.id = j.task_id
       where t.identifier = ${name} order by j.id`),
  ];
}

/** Resolves when the jobs of one type are as expected. */
export async function whenJobs(
  sql: SQL,
  name: string,
  isExpected: (jobs: QueuedJob[]) => boolean,
): Promise<QueuedJob[]> {
  let jobs: QueuedJob[] = [];
  return until(
    async () => {
      jobs = await jobsOf(sql, name);
      return isExpected(jobs) && jobs;
    },
    () => `the jobs are as expected, and not ${JSON.stringify(jobs)}`,
  );
}

/** Makes every job that waits for its next attempt due now. */
export async function passBackoff(sql: SQL): Promise<void> {
  await sql`update graphile_worker._private_jobs set run_at = now() where locked_at is null and run_at > now()`;
}

/** Makes running jobs look started this much earlier, and lets the worker inspect the queue at once. */
export async function passTime(sql: SQL, seconds: number): Promise<void> {
  await sql`update graphile_worker._private_jobs set locked_at = locked_at - ${seconds}::float8 * interval '1 second'`;
  await sql`select graphile_worker.add_job('maintain_queue', job_key := 'maintain_queue')`;
}
