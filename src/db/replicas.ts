import type { DatabaseAddress } from "../config/database-address.ts";
import { unavailable } from "../http/errors.ts";
import { type BoundedPool, TimedOut } from "./bounded-pool.ts";
import { isRolledBack, isUnavailable, sqlState } from "./errors.ts";
import type { FollowedServer } from "./followed-server.ts";
import { type Parameter, read, type Speed, type Statement, write } from "./statements.ts";

/** Runs reads on a standby, as long as it shows what the primary would show. */
export type Replicas = {
  /** The rows of a read; undefined if the primary has to run it. Throws `ApiError` "unavailable" if it took too long, or its own error. */
  rows(statement: Statement<unknown>, values: readonly Parameter[]): Promise<unknown[] | undefined>;
  state(): ReplicasState;
  stop(): void;
};

/** How many reads a standby has run, and how many it could not: it was not up to date, or away. */
export type ReplicasState = { readonly served: number; readonly stale: number; readonly away: number };

/** A look that takes longer costs more than the read at the primary. */
const LOOK_TIMEOUT_MS = 250;

/** How long a standby is left alone that did not respond, or is none. */
const PAUSE_MS = 1_000;

/**
 * A read runs on a standby if that has replayed everything that was committed when the read began. So it shows every write
 * that has been acknowledged, whoever wrote it and at whichever server: no reader needs to be remembered, and memory may keep
 * what it shows. To know that, each read takes part in a look, which begins after the read: where is the log of the primary,
 * and has the standby got there? Reads that arrive during a look share the next one (docs/decisions/0041-replicas.md).
 *
 * @param standby follows one standby of several
 * @param primary runs the half of the look that concerns the primary
 */
export function openReplicas(
  standby: FollowedServer,
  pools: Record<Speed, BoundedPool>,
  primary: { readonly reads: Pick<BoundedPool, "run" | "isOut">; readonly writes: Pick<BoundedPool, "run"> },
): Replicas {
  let running: Promise<DatabaseAddress | undefined> | undefined;
  let next: Promise<DatabaseAddress | undefined> | undefined;
  /** Of the timeline of the primary, as recorded there. */
  let mark: string | null = null;
  let isRecording = false;
  let endLook = () => {};
  let pausedUntil = 0;
  /** Reads at the standby, in their order: when each was sent, and what gives it up. */
  const inFlight = new Set<{ readonly since: number; readonly giveUp: () => void }>();
  let served = 0;
  let stale = 0;
  let away = 0;

  /** The standby, if it has what was committed when this was called. */
  function upToDate(): Promise<DatabaseAddress | undefined> {
    if (running === undefined) {
      running = look().finally(() => {
        running = undefined;
      });
      return running;
    }
    next ??= running.then(() => {
      next = undefined;
      return upToDate();
    });
    return next;
  }

  async function look(): Promise<DatabaseAddress | undefined> {
    const known = mark;
    const log = await primaryLog(known);
    if (log === undefined) return undefined;
    if (!log.isRecorded) {
      void recordTimeline();
      return undefined;
    }
    const server = standby.server();
    try {
      const looking = pools.fast.run(LOG_REPLAYED.text, [log.end, known]) as Promise<Replay[]>;
      const late = Bun.sleep(LOOK_TIMEOUT_MS).then(() => {
        throw new TimedOut("a replica");
      });
      const [replay] = await Promise.race([looking, late]);
      if (replay?.isStandby === true) return replay.hasReplayed ? server : undefined;
      void standby.search();
    } catch {
      // The connections for slow reads hang, too, and would show it much later.
      for (const pool of Object.values(pools)) pool.recover();
    }
    pause();
    // What is in flight at the standby does not wait for it, either.
    for (const { giveUp } of inFlight) giveUp();
    return undefined;
  }

  /** Undefined if the primary does not say so. The reads themselves then show why. */
  async function primaryLog(known: string | null): Promise<Log | undefined> {
    const { promise: ended, resolve } = Promise.withResolvers<Log[]>();
    endLook = () => resolve([]);
    try {
      const [log] = await Promise.race([primary.reads.run(LOG_END.text, [known]) as Promise<Log[]>, ended]);
      return log;
    } catch {
      return undefined;
    }
  }

  /** No read waits for it, since the primary may take no writes. */
  async function recordTimeline(): Promise<void> {
    if (isRecording) return;
    isRecording = true;
    try {
      const [recorded] = (await primary.writes.run(RECORD_TIMELINE.text, [])) as { mark: string }[];
      mark = recorded?.mark ?? null;
    } catch {
      pause();
    } finally {
      isRecording = false;
    }
  }

  function pause(): void {
    pausedUntil = performance.now() + PAUSE_MS;
  }

  const watch = setInterval(() => {
    // Any number of reads may wait for this look.
    if (primary.reads.isOut()) endLook();
    const [first] = inFlight;
    // A statement may take its time. Whether the standby hangs is what a look shows.
    if (first !== undefined && performance.now() - first.since > LOOK_TIMEOUT_MS) void upToDate();
  }, LOOK_TIMEOUT_MS);
  watch.unref();

  async function rows(statement: Statement<unknown>, values: readonly Parameter[]): Promise<unknown[] | undefined> {
    // While the primary is away, nobody can look. Its pool lets reads wait, and bounds how many do.
    if (performance.now() < pausedUntil || primary.reads.isOut()) {
      away++;
      return undefined;
    }
    const server = await upToDate();
    if (server === undefined) {
      if (performance.now() < pausedUntil) away++;
      else stale++;
      return undefined;
    }
    try {
      const found = await runAtStandby(statement, values);
      // Otherwise it may have waited, and run at another standby, at which nobody has looked.
      if (found !== undefined && standby.server() === server) {
        served++;
        return found;
      }
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      // The statement itself takes too long, and would do so at the primary.
      if (sqlState(error) === "57014") throw unavailable("database", 1, error);
      // The standby is there, but busy, or what it replays removes rows that the read needs (40001).
      if (!isRolledBack(error) && !(error instanceof TimedOut)) pause();
    }
    away++;
    return undefined;
  }

  /** Undefined if the standby hangs. */
  function runAtStandby(statement: Statement<unknown>, values: readonly Parameter[]): Promise<unknown[] | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[] | undefined>();
    const entry = { since: performance.now(), giveUp: () => resolve(undefined) };
    inFlight.add(entry);
    pools[statement.speed]
      .run(statement.text, values)
      .then(resolve, reject)
      .finally(() => inFlight.delete(entry));
    return promise;
  }

  return {
    rows,
    state: () => ({ served, stale, away }),
    stop: () => clearInterval(watch),
  };
}

/** Where the log of the primary ends, and whether the mark is that of its timeline. */
type Log = { readonly end: string; readonly isRecorded: boolean };

/** Without waiting for the disk, a commit may be acknowledged before it is in the log that a standby receives. */
const LOG_END = read<Log>(
  "log_end",
  `select log_end::text as end,
          exists (select from timelines
                   where mark = $1::uuid and right(id, 8) = left(pg_walfile_name(log_end), 8)) as "isRecorded"
     from (select case current_setting('synchronous_commit') when 'off' then pg_current_wal_insert_lsn()
                  else pg_current_wal_flush_lsn() end as log_end) as log`,
);

const RECORD_TIMELINE = write<{ mark: string }>(
  "timeline_record",
  `insert into timelines as recorded (id)
   select system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) from pg_control_system()
       on conflict (id) do update set mark = recorded.mark
   returning mark`,
);

type Replay = { readonly isStandby: boolean; readonly hasReplayed: boolean };

/**
 * A position says nothing without its timeline: a standby that was ahead of the new primary when that took over has a history
 * of its own. Only one that follows the new primary has replayed its record.
 */
const LOG_REPLAYED = read<Replay>(
  "log_replayed",
  `select pg_is_in_recovery() as "isStandby",
          coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)
            and exists (select from timelines where mark = $2::uuid) as "hasReplayed"`,
);
