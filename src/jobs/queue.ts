import type { z } from "zod";
import { JOB_SCHEMA } from "../db/job-schema.ts";
import type { Database, Queries } from "../db/pool.ts";
import { PURGE_BATCH } from "../db/purge.ts";
import { read, textArray, write } from "../db/statements.ts";

// Everything that this program asks of graphile-worker's tables. Its version is pinned, as some of them are private.

/** A kind of background job. */
export type JobType<Payload> = {
  /** Stored with every job: a job that waits is lost to a rename. */
  readonly name: string;
  /** Payloads are checked again when the job runs: an older version may have written it. */
  readonly payload: z.ZodType<Payload>;
  /** A job that failed so often is a dead letter. */
  readonly attemptsMax: number;
  /** A job that runs longer has failed. One that is locked for longer has lost its process. */
  readonly timeoutMs: number;
};

/** The name helps to find the job in the queue. Of two jobs with one key, the later replaces the one that waits. */
export type JobOptions = { readonly key?: string; readonly runAt?: Date };

/**
 * Adds a job in the caller's transaction: it runs if that transaction commits.
 * @returns the id of the job
 */
export async function addJob<Payload>(
  tx: Queries,
  type: JobType<Payload>,
  payload: Payload,
  { key, runAt }: JobOptions = {},
): Promise<string> {
  const [row] = await tx.rows(JOB_ADD, {
    name: type.name,
    payload: JSON.stringify(payload),
    runAt: runAt?.toISOString() ?? null,
    attemptsMax: type.attemptsMax,
    key: key ?? null,
  });
  if (row === undefined) throw new Error("add_job returned no row");
  return row.id;
}

const JOB_ADD = write<{ id: string }>(
  "job_add",
  `select (${JOB_SCHEMA}.add_job(:name, payload := :payload::text::json, run_at := :runAt::timestamptz,
                                 max_attempts := :attemptsMax::integer, job_key := :key)).id::text as id`,
);

/** Removes the job with this key in the caller's transaction, unless it is running. */
export async function removeJob(tx: Queries, key: string): Promise<void> {
  await tx.rows(JOB_REMOVE, [key]);
}

const JOB_REMOVE = write("job_remove", `select (${JOB_SCHEMA}.remove_job($1)).id`);

/** Lets no further attempt follow the one that is running: if it fails, the job is a dead letter. */
export async function endAttempts(db: Database, jobId: string): Promise<void> {
  await db.rows(JOB_END_ATTEMPTS, [jobId]);
}

const JOB_END_ATTEMPTS = write(
  "job_end_attempts",
  `update ${JOB_SCHEMA}._private_jobs set attempts = max_attempts where id = $1::bigint`,
);

/** Added to a type's timeout: a job that ended in time may still be waiting for its result to be written. */
const LEASE_MARGIN_MS = 10_000;

/**
 * Gives back the jobs of processes that ended without finishing them. graphile-worker would do so after four hours.
 * @returns how many there were
 */
export async function recoverJobs(
  db: Database,
  types: readonly Pick<JobType<unknown>, "name" | "timeoutMs">[],
): Promise<number> {
  const names = textArray(types.map(({ name }) => name));
  const leases = textArray(types.map(({ timeoutMs }) => String((timeoutMs + LEASE_MARGIN_MS) / 1000)));
  return (await db.rows(JOBS_RECOVER, [names, leases])).length;
}

const JOBS_RECOVER = write(
  "jobs_recover",
  `update ${JOB_SCHEMA}._private_jobs j
      set locked_at = null, locked_by = null, last_error = 'The process ended while this job was running.'
     from ${JOB_SCHEMA}._private_tasks t, unnest($1::text[], $2::float8[]) as l (name, lease_s)
    where t.id = j.task_id and t.identifier = l.name and j.locked_at < now() - l.lease_s * interval '1 second'
   returning j.id`,
);

/**
 * Shortens the wait of jobs that failed. graphile-worker waits e^attempts seconds, which is 18 minutes after the seventh
 * attempt and 6 hours after the tenth.
 */
export async function capRetryDelays(db: Database): Promise<void> {
  await db.rows(JOBS_CAP_DELAYS, []);
}

const JOBS_CAP_DELAYS = write(
  "jobs_cap_delays",
  `update ${JOB_SCHEMA}._private_jobs set run_at = now() + interval '15 minutes'
    where is_available and attempts > 0 and run_at > now() + interval '15 minutes'`,
);

/** Removes dead letters a month after their last attempt, at most 10,000. Returns how many. */
export async function purgeDeadJobs(db: Database): Promise<number> {
  return (await db.row(JOBS_PURGE, []))?.purged ?? 0;
}

const JOBS_PURGE = write<{ purged: number }>(
  "jobs_purge",
  `with purged as (
     delete from ${JOB_SCHEMA}._private_jobs where id in (
       select id from ${JOB_SCHEMA}._private_jobs
        where locked_at is null and attempts >= max_attempts and run_at < now() - interval '30 days'
        order by run_at limit ${PURGE_BATCH} for update skip locked)
     returning id)
   select count(*)::integer as purged from purged`,
);

export type QueueState = {
  /** Jobs that are due or running. Those for later and dead letters are not counted. */
  readonly waiting: number;
  /** How long the oldest of them has existed, in seconds; 0 if there is none. */
  readonly oldest_s: number;
};

/** The state of the queue for one type of job. */
export async function readQueue(db: Database, type: Pick<JobType<unknown>, "name">): Promise<QueueState | undefined> {
  return await db.row(QUEUE_STATE, [type.name]);
}

// A job that failed waits, too, though it is not due.
const QUEUE_STATE = read<QueueState>(
  "queue_state",
  `select count(*)::integer as waiting,
          coalesce(extract(epoch from now() - min(j.created_at)), 0)::float8 as oldest_s
     from ${JOB_SCHEMA}._private_jobs j join ${JOB_SCHEMA}._private_tasks t on t.id = j.task_id
    where t.identifier = $1 and (j.attempts > 0 or j.run_at <= now())
      and (j.locked_at is not null or j.attempts < j.max_attempts)`,
);
