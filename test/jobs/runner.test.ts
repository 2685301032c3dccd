import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { z } from "zod";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { firstServer } from "../../src/db/followed-server.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { addJob, capRetryDelays, type JobType, purgeDeadJobs, readQueue } from "../../src/jobs/queue.ts";
import { startJobs } from "../../src/jobs/runner.ts";
import { JobFailure, type RunningJob, type Task, task } from "../../src/jobs/task.ts";
import type { Log } from "../../src/observability/log.ts";
import { connect, testDatabase } from "../support/harness.ts";
import { jobsOf, passBackoff, passTime, whenJobs } from "../support/jobs.ts";
import { startProxy } from "../support/proxy.ts";
import { recordingLog } from "../support/recording.ts";
import { until } from "../support/until.ts";

type Work = { n: number };
const WORK: JobType<Work> = { name: "work", payload: z.object({ n: z.int() }), attemptsMax: 3, timeoutMs: 20_000 };
const OTHER: JobType<Work> = { ...WORK, name: "other" };
const ADDRESSED: JobType<{ to: string }> = { ...WORK, name: "to", payload: z.object({ to: z.string() }) };
const limits = { poolMax: 2, connectTimeoutMs: 1_000, queueTimeoutMs: 1_000, statementTimeoutMs: 1_000 };
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

let address: DatabaseAddress;
let sql: Bun.SQL;
let db: Database;
const stops: (() => unknown)[] = [];
const releases: (() => void)[] = [];

beforeAll(async () => {
  address = await testDatabase();
  sql = connect(address);
  db = openDatabase(address, limits);
  return () => db.close(0);
});
afterEach(async () => {
  for (const release of releases.splice(0)) release();
  for (const stop of stops.splice(0)) await stop();
  await sql`delete from graphile_worker._private_jobs`;
});

type StartOptions = { log?: Log; at?: DatabaseAddress; groups?: Task[][]; concurrency?: number };

async function start(
  tasks: Task[],
  { log = SILENT, at = address, groups = [tasks], concurrency = 3 }: StartOptions = {},
) {
  const jobs = await startJobs({
    database: firstServer(at),
    db,
    log,
    groups: groups.map((tasks) => ({ tasks, concurrency, pollIntervalMs: 100 })),
    connectTimeoutMs: limits.connectTimeoutMs,
    statementTimeoutMs: limits.statementTimeoutMs,
  });
  let isStopped = false;
  const stop = async (timeoutMs = 5_000) => {
    if (!isStopped) await jobs.stop(timeoutMs);
    isStopped = true;
  };
  stops.unshift(stop);
  return stop;
}
const isEmpty = (jobs: unknown[]) => jobs.length === 0;
/** A task whose jobs stay until they are released. */
function held(type = WORK) {
  const started: RunningJob[] = [];
  const release = Promise.withResolvers<void>();
  const { promise: isRunning, resolve } = Promise.withResolvers<void>();
  const hold = task(type, async (_payload, job) => {
    started.push(job);
    resolve();
    await release.promise;
  });
  releases.push(release.resolve);
  return { hold, started, isRunning, release: release.resolve };
}

describe("a job", () => {
  test("runs with its payload if the transaction that adds it commits, and not if that rolls back", async () => {
    const ran: number[] = [];
    await start([task(WORK, async ({ n }) => void ran.push(n))]);
    await db
      .transaction(async (tx) => {
        await addJob(tx, WORK, { n: 1 });
        throw new Error("rolled back");
      })
      .catch(() => {});
    await db.transaction((tx) => addJob(tx, WORK, { n: 2 }));
    await addJob(db, WORK, { n: 3 });
    await whenJobs(sql, "work", isEmpty);
    expect(ran.sort()).toEqual([2, 3]);
  });

  test("for a time in the future starts when it has come, and not before", async () => {
    const startedAt: number[] = [];
    await start([task(WORK, async () => void startedAt.push(Date.now()))]);
    const [{ now }] = await sql`select extract(epoch from now() + interval '1 second')::float8 * 1000 as now`;
    await addJob(db, WORK, { n: 1 }, { runAt: new Date(now) });
    await whenJobs(sql, "work", isEmpty);
    expect(startedAt).toHaveLength(1);
    expect(startedAt[0]).toBeGreaterThanOrEqual(Math.floor(now));
  });

  test("with the key of one that waits replaces it", async () => {
    const runAt = new Date(Date.now() + 60_000);
    for (const n of [1, 2]) await addJob(db, WORK, { n }, { key: "one", runAt });
    expect((await jobsOf(sql, "work")).map(({ payload }) => payload)).toEqual([{ n: 2 }]);
  });

  test("that fails is tried again, and is a dead letter after its last attempt", async () => {
    const attempts: number[] = [];
    await start([
      task(WORK, async (_payload, job) => {
        attempts.push(job.attempt);
        throw new Error(`failure ${job.attempt}`);
      }),
    ]);
    await addJob(db, WORK, { n: 1 });
    for (const attempt of [1, 2]) {
      await whenJobs(sql, "work", ([job]) => job?.attempts === attempt && job.waits);
      await passBackoff(sql);
    }
    const [dead] = await whenJobs(sql, "work", ([job]) => job?.isDead === true);
    expect([attempts, dead?.last_error]).toEqual([[1, 2, 3], "failure 3"]);
    // As the operations guide shows it.
    await sql`select graphile_worker.reschedule_jobs(array[${dead?.id}]::bigint[], run_at => now(), attempts => 0)`;
    await whenJobs(sql, "work", ([job]) => job?.attempts === 1 && job.waits);
  });

  test("that can never succeed is a dead letter at once", async () => {
    await start([task(WORK, () => Promise.reject(new JobFailure("never", { isPermanent: true })))]);
    await addJob(db, WORK, { n: 1 });
    expect(await whenJobs(sql, "work", ([job]) => job?.isDead === true)).toMatchObject([{ last_error: "never" }]);
  });

  test("whose payload this version does not know is a dead letter, and never runs", async () => {
    let ran = 0;
    await start([task(WORK, async () => void ran++)]);
    await sql`select graphile_worker.add_job('work', '{"n": "secret"}')`;
    const [dead] = await whenJobs(sql, "work", ([job]) => job?.isDead === true);
    expect([ran, dead?.last_error]).toEqual([0, "This version does not know such a payload."]);
  });

  test("that takes longer than it may fails, and its signal aborts", async () => {
    const aborted = Promise.withResolvers<void>();
    await start([
      task({ ...WORK, timeoutMs: 50 }, async (_payload, { signal }) => {
        signal.addEventListener("abort", () => aborted.resolve());
        await new Promise(() => {});
      }),
    ]);
    await addJob(db, WORK, { n: 1 });
    const [job] = await whenJobs(sql, "work", ([job]) => job?.waits === true);
    expect(job?.last_error).toBe("the job took longer than 0.05 s");
    await aborted.promise;
  });

  test("of one group runs while the other group is full", async () => {
    const { hold, started } = held();
    await start([], { groups: [[hold], [task(OTHER, async () => {})]] });
    for (let n = 0; n < 5; n++) await addJob(db, WORK, { n });
    await whenJobs(sql, "work", (jobs) => jobs.filter(({ isRunning }) => isRunning).length === 3);
    await addJob(db, OTHER, { n: 1 });
    await whenJobs(sql, "other", isEmpty);
    expect(started).toHaveLength(3);
  });

  test("never puts its payload or the text of its error into the log", async () => {
    const { log, lines } = recordingLog();
    const fail = (message: string) => new JobFailure(message, { logFields: { "error.type": "EENVELOPE" } });
    await start([task(ADDRESSED, async ({ to }) => Promise.reject(fail(`550 no ${to}`)))], { log });
    await addJob(db, ADDRESSED, { to: "ann@example.com" });
    await whenJobs(sql, "to", ([job]) => job?.waits === true);
    const text = JSON.stringify(lines);
    expect(text).toContain("job failed and will be tried again");
    expect(text).toContain('"job.type":"to"');
    expect(text).toContain("EENVELOPE");
    expect(text).not.toContain("ann@example.com");
  });
});

describe("a schedule", () => {
  test("adds one job per tick, however many servers there are, and makes up for ticks that none saw", async () => {
    const ticks: string[] = [];
    const tick: JobType<{ _cron: { ts: string } }> = {
      ...WORK,
      name: "tick",
      payload: z.object({ _cron: z.object({ ts: z.string() }) }),
    };
    const every = task(tick, async ({ _cron }) => void ticks.push(_cron.ts), "* * * * *");
    await sql`
      insert into graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
      values ('tick', now() - interval '1 day', date_trunc('minute', now()) - interval '1 minute')`;
    await Promise.all([1, 2, 3].map(() => start([every])));
    await whenJobs(sql, "tick", () => ticks.length > 0);
    await whenJobs(sql, "tick", isEmpty);
    expect(new Set(ticks).size).toBe(ticks.length);
    const [known] =
      await sql`select last_execution from graphile_worker._private_known_crontabs where identifier = 'tick'`;
    expect(new Date(ticks.at(-1) ?? "")).toEqual(known.last_execution);
  });
});

describe("the queue", () => {
  test("gives back the job of a process that ended, and no job that may still be running", async () => {
    const { hold, started, isRunning } = held();
    const done: number[] = [];
    await start([hold, task(OTHER, async (_payload, { attempt }) => void done.push(attempt))]);
    await addJob(db, WORK, { n: 1 });
    await isRunning;
    // As a process left it that was killed: locked, and nobody works on it.
    const lost = await addJob(db, OTHER, { n: 2 }, { runAt: new Date(Date.now() + 3_600_000) });
    await sql`update graphile_worker._private_jobs
      set locked_at = now(), locked_by = 'gone', attempts = 1, run_at = now() where id = ${lost}`;
    // A job of 20 s is given back after 30 s.
    await passTime(sql, 25);
    await whenJobs(sql, "maintain_queue", isEmpty);
    expect((await jobsOf(sql, "other")).map(({ isRunning }) => isRunning)).toEqual([true]);
    await sql`update graphile_worker._private_jobs set locked_at = now() where locked_by <> 'gone'`;
    await passTime(sql, 6);
    await whenJobs(sql, "other", isEmpty);
    expect([done, started.length]).toEqual([[2], 1]);
  });

  test("lets no job that failed wait for longer than 15 minutes", async () => {
    const [failed, scheduled] = [await addJob(db, WORK, { n: 1 }), await addJob(db, WORK, { n: 2 })];
    await sql`update graphile_worker._private_jobs set run_at = now() + interval '6 hours'`;
    await sql`update graphile_worker._private_jobs set attempts = 2 where id = ${failed}`;
    await capRetryDelays(db);
    const rows = await sql`
      select id::text, run_at > now() + interval '15 minutes' as later from graphile_worker.jobs order by id`;
    expect([...rows]).toEqual([
      { id: failed, later: false },
      { id: scheduled, later: true },
    ]);
  });

  test("reports how many jobs of a type wait, those that failed included, and how old the oldest is", async () => {
    expect(await readQueue(db, WORK)).toEqual({ waiting: 0, oldest_s: 0 });
    const [failed, dead] = [await addJob(db, WORK, { n: 1 }), await addJob(db, WORK, { n: 2 })];
    await addJob(db, WORK, { n: 3 }, { runAt: new Date(Date.now() + 3_600_000) });
    await addJob(db, OTHER, { n: 4 });
    await sql`update graphile_worker._private_jobs
      set attempts = 1, run_at = now() + interval '1 minute', created_at = now() - interval '1 hour' where id = ${failed}`;
    await sql`update graphile_worker._private_jobs set attempts = max_attempts where id = ${dead}`;
    const state = await readQueue(db, WORK);
    expect([state?.waiting, Math.round(state?.oldest_s ?? 0)]).toEqual([1, 3600]);
  });

  test("keeps dead letters for 30 days", async () => {
    for (const days of [29, 31]) {
      const id = await addJob(db, WORK, { n: days });
      await sql`update graphile_worker._private_jobs
        set attempts = max_attempts, run_at = now() - ${days} * interval '1 day' where id = ${id}`;
    }
    await addJob(db, WORK, { n: 0 });
    await sql`update graphile_worker._private_jobs set run_at = now() - interval '40 days' where attempts = 0`;
    expect(await purgeDeadJobs(db)).toBe(1);
    expect((await jobsOf(sql, "work")).map(({ payload }) => payload.n).sort()).toEqual([0, 29]);
  });
});

describe("when the database", () => {
  async function behindProxy(tasks: Task[]) {
    const proxy = startProxy(address);
    stops.push(proxy.stop);
    const { log, lines } = recordingLog();
    const stop = await start(tasks, { at: proxy.address, log });
    return { proxy, lines, stop };
  }

  test("goes away and returns, jobs run again", async () => {
    const done: number[] = [];
    const { proxy, lines } = await behindProxy([task(WORK, async ({ n }) => void done.push(n))]);
    await addJob(db, WORK, { n: 1 });
    await whenJobs(sql, "work", isEmpty);
    proxy.refuse();
    await addJob(db, WORK, { n: 2 });
    while (!JSON.stringify(lines).includes("a connection of the job queue closed")) await Bun.sleep(10);
    expect(done).toEqual([1]);
    proxy.restore();
    await whenJobs(sql, "work", isEmpty);
    expect(done).toEqual([1, 2]);
  });

  test("hangs, jobs run again once it responds", async () => {
    const done: number[] = [];
    const { proxy } = await behindProxy([task(WORK, async ({ n }) => void done.push(n))]);
    await addJob(db, WORK, { n: 1 });
    await whenJobs(sql, "work", isEmpty);
    // Not due yet: a request for jobs that has just passed the proxy would take it, and its response would be lost.
    await addJob(db, WORK, { n: 2 }, { runAt: new Date(Date.now() + 3_600_000) });
    proxy.hang();
    // It asked for jobs, and gets no response.
    await proxy.whenSwallowed();
    await until(async () => {
      const [row] = await sql`select count(*)::integer as count from pg_stat_activity
        where datname = current_database() and application_name = 'conduit jobs' and state = 'active'`;
      return row.count === 0;
    });
    await passBackoff(sql);
    expect((await jobsOf(sql, "work")).map(({ payload }) => payload.n)).toEqual([2]);
    expect(done).toEqual([1]);
    proxy.restore();
    await whenJobs(sql, "work", isEmpty);
    expect(done).toEqual([1, 2]);
  });

  test("is away while the result of a job is written, the job runs again", async () => {
    const { hold, started, isRunning, release } = held();
    const { proxy, lines } = await behindProxy([hold]);
    await addJob(db, WORK, { n: 1 });
    await isRunning;
    proxy.refuse();
    release();
    while (!JSON.stringify(lines).includes("starting them again")) await Bun.sleep(25);
    proxy.restore();
    await passTime(sql, 31);
    await whenJobs(sql, "work", isEmpty);
    expect(started.map(({ attempt }) => attempt)).toEqual([1, 2]);
  });
});

describe("stopping", () => {
  test("waits for the jobs that are running, aborts their signals, and starts no others", async () => {
    const { hold, started, isRunning, release } = held();
    // One at a time, so that no other job is being fetched.
    const stop = await start([hold], { concurrency: 1 });
    await addJob(db, WORK, { n: 1 });
    await isRunning;
    const stopped = stop();
    await addJob(db, WORK, { n: 2 });
    expect(started[0]?.signal.aborted).toBe(true);
    release();
    await stopped;
    expect((await jobsOf(sql, "work")).map(({ attempts }) => attempts)).toEqual([0]);
  });

  test("leaves a job that takes too long to other servers", async () => {
    const { hold, isRunning } = held();
    const stop = await start([hold]);
    await addJob(db, WORK, { n: 1 });
    await isRunning;
    await stop(100);
    expect((await jobsOf(sql, "work")).map(({ isRunning }) => isRunning)).toEqual([true]);
  });
});
