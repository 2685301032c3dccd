import type { DatabaseAddress } from "../config/database-address.ts";
import { unavailable } from "../http/errors.ts";
import { type BoundedPool, TimedOut } from "./bounded-pool.ts";
import { isUnavailable, sqlState } from "./errors.ts";
import type { FollowedServer } from "./followed-server.ts";
import { type Parameter, read, type Speed, type Statement } from "./statements.ts";

/** Runs reads on a standby, as long as it shows what the primary would show. */
export type Replicas = {
  /** The rows of a read; undefined if the primary has to run it. Throws `ApiError` "unavailable" if it took too long, or its own error. */
  rows(statement: Statement<unknown>, values: readonly Parameter[]): Promise<unknown[] | undefined>;
  state(): ReplicasState;
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
  primary: Pick<BoundedPool, "run">,
): Replicas {
  let running: Promise<DatabaseAddress | undefined> | undefined;
  let next: Promise<DatabaseAddress | undefined> | undefined;
  let pausedUntil = 0;
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
    const end = await logEnd();
    if (end === undefined) return undefined;
    const server = standby.server();
    try {
      const looking = pools.fast.run(LOG_REPLAYED.text, [end]) as Promise<Replay[]>;
      const late = Bun.sleep(LOOK_TIMEOUT_MS).then(() => {
        throw new TimedOut("a replica");
      });
      const [replay] = await Promise.race([looking, late]);
      if (replay?.isStandby === true) return replay.hasReplayed ? server : undefined;
      void standby.search();
    } catch {
      pools.fast.recover();
    }
    pause();
    return undefined;
  }

  /** Undefined if the primary does not say so. The reads themselves then show why. */
  async function logEnd(): Promise<string | undefined> {
    try {
      const [row] = (await primary.run(LOG_END.text, [])) as { end: string }[];
      return row?.end;
    } catch {
      return undefined;
    }
  }

  function pause(): void {
    pausedUntil = performance.now() + PAUSE_MS;
  }

  async function rows(statement: Statement<unknown>, values: readonly Parameter[]): Promise<unknown[] | undefined> {
    if (performance.now() < pausedUntil) {
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
      const found = await pools[statement.speed].run(statement.text, values);
      // Otherwise it may have waited, and run at another standby, at which nobody has looked.
      if (standby.server() === server) {
        served++;
        return found;
      }
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      // The statement itself takes too long, and would do so at the primary.
      if (sqlState(error) === "57014") throw unavailable("database", 1, error);
      pause();
    }
    away++;
    return undefined;
  }

  return { rows, state: () => ({ served, stale, away }) };
}

/** Without waiting for the disk, a commit may be acknowledged before it is in the log that a standby receives. */
const LOG_END = read<{ end: string }>(
  "log_end",
  `select (case current_setting('synchronous_commit') when 'off' then pg_current_wal_insert_lsn()
                else pg_current_wal_flush_lsn() end)::text as end`,
);

type Replay = { readonly isStandby: boolean; readonly hasReplayed: boolean };

const LOG_REPLAYED = read<Replay>(
  "log_replayed",
  `select pg_is_in_recovery() as "isStandby",
          coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false) as "hasReplayed"`,
);
