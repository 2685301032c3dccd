import type { Database } from "../db/pool.ts";
import type { Log } from "../observability/log.ts";
import { endAttempts, type JobType } from "./queue.ts";

/** A job that is running. */
export type RunningJob = {
  readonly id: string;
  /** 1 for the first. */
  readonly attempt: number;
  readonly createdAt: Date;
  /** Aborts when the time of the job is over, and when the server stops. */
  readonly signal: AbortSignal;
};

/** What runs the jobs of one type. */
export type Task = {
  readonly type: Omit<JobType<unknown>, "payload">;
  /** When the server adds such a job by itself, as in a crontab: `minute hour day month weekday`, in UTC. */
  readonly schedule: string | undefined;
  run(payload: unknown, job: RunningJob): Promise<void>;
};

/**
 * A function for a type of job. It may run twice for one job, if its process ends before it is noted that it is done.
 * A job fails if the function throws, and then runs again later.
 */
export function task<Payload>(
  type: JobType<Payload>,
  run: (payload: Payload, job: RunningJob) => Promise<void>,
  schedule?: string,
): Task {
  return {
    type,
    schedule,
    async run(payload, job) {
      const parsed = type.payload.safeParse(payload);
      // Without zod's message, which may quote the payload.
      if (!parsed.success) throw new JobFailure("This version does not know such a payload.", { isPermanent: true });
      await run(parsed.data, job);
    },
  };
}

/** A failure whose message stays in the queue, as it may hold personal data. The log has its fields alone. */
export class JobFailure extends Error {
  override name = "JobFailure";
  readonly logFields: Record<string, unknown>;
  /** Another attempt would fail as well: the job is a dead letter at once. */
  readonly isPermanent: boolean;

  constructor(
    message: string,
    { isPermanent = false, logFields = {}, cause }: { isPermanent?: boolean; logFields?: object; cause?: unknown } = {},
  ) {
    super(message.slice(0, 500), cause === undefined ? {} : { cause });
    this.isPermanent = isPermanent;
    this.logFields = { ...logFields };
  }
}

/** A job as graphile-worker hands it over. */
type QueuedJob = { id: string; attempts: number; max_attempts: number; created_at: Date };

/** Runs one job, bounds its time, and logs how it went. Throws what the task throws, for the queue to try again. */
export async function runTask(
  { type, run }: Task,
  payload: unknown,
  queued: QueuedJob,
  isStopping: AbortSignal,
  db: Database,
  log: Log,
): Promise<void> {
  const fields = { "job.id": queued.id, "job.type": type.name, "job.attempt": queued.attempts };
  const started = performance.now();
  try {
    await withTimeout(type.timeoutMs, isStopping, (signal) =>
      run(payload, { id: queued.id, attempt: queued.attempts, createdAt: new Date(queued.created_at), signal }),
    );
    log.debug({ ...fields, "job.duration_ms": Math.round(performance.now() - started) }, "job completed");
  } catch (error) {
    const isPermanent = error instanceof JobFailure && error.isPermanent;
    if (isPermanent) await endAttempts(db, queued.id);
    const cause = error instanceof JobFailure ? error.logFields : { err: error };
    if (isPermanent || queued.attempts >= queued.max_attempts) {
      log.error({ ...fields, ...cause }, "job failed for good and is a dead letter");
    } else {
      log.warn({ ...fields, ...cause }, "job failed and will be tried again");
    }
    throw error;
  }
}

async function withTimeout(
  timeoutMs: number,
  isStopping: AbortSignal,
  run: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const timeout = new AbortController();
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new Error(`the job took longer than ${timeoutMs / 1000} s`);
    timeout.abort(error);
    reject(error);
  }, timeoutMs);
  try {
    await Promise.race([run(AbortSignal.any([timeout.signal, isStopping])), expired]);
  } finally {
    clearTimeout(timer);
  }
}
