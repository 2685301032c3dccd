import { Logger, type LogLevel, parseCronItems, type Runner, run } from "graphile-worker";
import type { Pool } from "pg";
import { z } from "zod";
import type { CurrentServer } from "../db/followed-server.ts";
import { JOB_SCHEMA } from "../db/job-schema.ts";
import { openPgPool } from "../db/pg-pool.ts";
import type { Database } from "../db/pool.ts";
import type { Log } from "../observability/log.ts";
import { capRetryDelays, type JobType, recoverJobs } from "./queue.ts";
import { runTask, type Task, task } from "./task.ts";

/** Tasks that share a bound on how many of their jobs run at a time. Those of one group never delay another's. */
export type TaskGroup = {
  readonly tasks: readonly Task[];
  readonly concurrency: number;
  /** How often to look for jobs whose time has come. New jobs that are due are notified at once. */
  readonly pollIntervalMs: number;
};

export type JobRunnerOptions = {
  readonly database: CurrentServer;
  readonly db: Database;
  readonly log: Log;
  readonly groups: readonly TaskGroup[];
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
};

/** How long after an unexpected end the runner of a group starts again. */
const RESTART_DELAY_MS = 1_000;

/** Closing connections takes no longer than this, unless the database hangs. */
const POOL_END_TIMEOUT_MS = 1_000;

/** A tick that was missed while no server ran is made up for when one starts, if it is not older. */
const BACKFILL_MS = 3_600_000;

/**
 * Runs background jobs until stopped: those in the queue and those on a schedule. Any number of servers may share a
 * database. Each job runs in one of them, and each tick of a schedule adds one job. `stop` waits at most `timeoutMs` for
 * the jobs that are running.
 */
export async function startJobs(options: JobRunnerOptions): Promise<{ stop(timeoutMs: number): Promise<void> }> {
  const { db, log, connectTimeoutMs, statementTimeoutMs } = options;
  const groups = withMaintenance(db, options.groups);
  const pool = await openPgPool(options.database, {
    // Each group keeps one to listen; the statements of all share another.
    max: groups.length + 1,
    applicationName: "conduit jobs",
    connectTimeoutMs,
    statementTimeoutMs,
    onError: (error) => log.debug({ err: error }, "a connection of the job queue closed"),
  });
  const runners = groups.map((group) => startGroup(group, pool, db, log));
  let stopped: Promise<void> | undefined;
  async function stop(timeoutMs: number): Promise<void> {
    // Jobs that take longer are given back by `recoverJobs`.
    await Promise.race([Promise.all(runners.map((runner) => runner.stop())), Bun.sleep(timeoutMs)]);
    await Promise.race([pool.end(), Bun.sleep(POOL_END_TIMEOUT_MS)]);
  }
  return {
    stop(timeoutMs) {
      stopped ??= stop(timeoutMs);
      return stopped;
    },
  };
}

/** Adds the job that looks after the queue itself to the first group. */
function withMaintenance(db: Database, groups: readonly TaskGroup[]): TaskGroup[] {
  const [first, ...rest] = groups;
  if (first === undefined) throw new Error("there is no group of tasks");
  const types = [MAINTENANCE, ...groups.flatMap(({ tasks }) => tasks.map(({ type }) => type))];
  const maintain = task(
    MAINTENANCE,
    async () => {
      await recoverJobs(db, types);
      await capRetryDelays(db);
    },
    "* * * * *",
  );
  return [{ ...first, tasks: [maintain, ...first.tasks] }, ...rest];
}

/** The next minute adds another, so it need not run again. */
export const MAINTENANCE = {
  name: "maintain_queue",
  payload: z.object({}),
  attemptsMax: 1,
  timeoutMs: 30_000,
} satisfies JobType<object>;

function startGroup(group: TaskGroup, pool: Pool, db: Database, log: Log): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let runner: Runner | undefined;
  const running = keepRunning();

  async function keepRunning(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        runner = await run(runnerOptions(group, pool, stopping.signal, db, log));
        if (stopping.signal.aborted) await runner.stop();
        await runner.promise;
      } catch (error) {
        // Such as a database that went away while the result of a job was written.
        if (!stopping.signal.aborted) log.warn({ err: error }, "background jobs were interrupted; starting them again");
      }
      runner = undefined;
      if (!stopping.signal.aborted) await Bun.sleep(RESTART_DELAY_MS);
    }
  }

  return {
    async stop() {
      stopping.abort();
      await runner?.stop().catch(() => {});
      await running;
    },
  };
}

function runnerOptions(
  { tasks, concurrency, pollIntervalMs }: TaskGroup,
  pool: Pool,
  isStopping: AbortSignal,
  db: Database,
  log: Log,
): Parameters<typeof run>[0] {
  return {
    pgPool: pool,
    schema: JOB_SCHEMA,
    concurrency,
    pollInterval: pollIntervalMs,
    taskList: Object.fromEntries(
      tasks.map((one) => [
        one.type.name,
        (payload: unknown, { job }) => runTask(one, payload, job, isStopping, db, log),
      ]),
    ),
    parsedCronItems: parseCronItems(
      tasks.flatMap(({ type: { name, attemptsMax }, schedule }) =>
        schedule === undefined
          ? []
          : // The key keeps one job per schedule: the next tick replaces one that still waits, or failed.
            [
              {
                task: name,
                match: schedule,
                options: { backfillPeriod: BACKFILL_MS, maxAttempts: attemptsMax, jobKey: name },
              },
            ],
      ),
    ),
    noHandleSignals: true,
    logger: queueLogger(log),
    // Results are written one by one all the same. But without a batch, one that cannot be written is a rejection that
    // nobody handles, which ends the process.
    preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
  };
}

/**
 * graphile-worker's own messages. What happens to a job is logged by `runTask`, as these quote errors, which may hold
 * addresses.
 */
function queueLogger(log: Log): Logger {
  return new Logger(() => (level: `${LogLevel}`, message, meta) => {
    const isProblem = level === "error" || level === "warning";
    if (meta?.success !== undefined || meta?.failure !== undefined) return;
    // Advice to have as many connections as jobs at a time. Ours spend their time elsewhere.
    if (meta?.concurrency !== undefined) return;
    const { code, name } = (meta?.error ?? {}) as { code?: string; name?: string };
    const fields = meta?.error === undefined ? {} : { "error.type": code ?? name };
    if (isProblem) log.warn(fields, `job queue: ${message}`);
    else log.debug(fields, `job queue: ${message}`);
  });
}
