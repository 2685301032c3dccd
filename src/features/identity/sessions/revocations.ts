import { SQL } from "bun";
import type { DatabaseAddress } from "../../../config/database-address.ts";
import { connectionOptions, type Database } from "../../../db/pool.ts";
import { read, write } from "../../../db/statements.ts";
import type { Log } from "../../../observability/log.ts";

/** A revoked session, and when its last access token expires, in seconds since 1970. */
export type Revocation = { readonly id: string; readonly expires_at_s: number };

/** The revoked sessions with access tokens that have not expired. In memory, because every request needs it. */
export type Revocations = {
  has(sessionId: string): boolean;
  add(revoked: readonly Revocation[]): void;
  /** Removes those whose tokens have expired. */
  sweep(): void;
};

/** Tokens expire by the clock of this machine, rows by that of the database. */
const CLOCK_DIFFERENCE_MAX_S = 300;

export function createRevocations(): Revocations {
  const expiresAtS = new Map<string, number>();
  return {
    has: (sessionId) => expiresAtS.has(sessionId),
    add(revoked) {
      for (const { id, expires_at_s } of revoked) expiresAtS.set(id, expires_at_s);
    },
    sweep() {
      const nowS = Date.now() / 1000;
      for (const [id, expiry] of expiresAtS) if (expiry + CLOCK_DIFFERENCE_MAX_S < nowS) expiresAtS.delete(id);
    },
  };
}

/** How often the connection for notifications is checked, and how long it may be silent. */
export type HeartbeatTimes = {
  readonly everyMs: number;
  /** After this, the instance asks the database at every beat. */
  readonly silentMs: number;
  /** After this, it opens a new connection: a dead one can go unnoticed by TCP for hours. One being opened has 5 s. */
  readonly reopenMs: number;
  /** How often the table is read in any case, and what has expired is forgotten. */
  readonly rereadMs: number;
};

const HEARTBEAT: HeartbeatTimes = { everyMs: 1_000, silentMs: 3_000, reopenMs: 15_000, rereadMs: 60_000 };

const CONNECT_TIMEOUT_MS = 5_000;

/** Notified instead of a revocation. */
const BEAT = "heartbeat";

/**
 * Adds the revocations of all instances: reads them once, then receives PostgreSQL's notifications. The instances also
 * notify each other of nothing, about once a second in total. One that hears nothing for three seconds has lost its
 * connection, or has one that delivers nothing (a pooler, a half-open connection): it reads the table every second until it
 * hears again. Reads it after each new connection, too. Resolves after the first read.
 */
export async function followRevocations(
  address: DatabaseAddress,
  db: Database,
  log: Log,
  revocations: Revocations,
  times: HeartbeatTimes = HEARTBEAT,
): Promise<{ stop(): Promise<void> }> {
  // By the database's clock, with an overlap of a minute: a transaction becomes visible after its now().
  let readUpTo: string | null = null;
  let heardAt = performance.now();
  let rereadAt = heardAt;
  // When the connection was requested or established, and how long it then has until it is given up.
  let openedAt = heardAt;
  let patienceMs = CONNECT_TIMEOUT_MS;
  let isStopped = false;
  let sql: SQL | undefined;

  async function reread(): Promise<void> {
    rereadAt = performance.now();
    const rows = await db.rows(REVOKED_SINCE, [readUpTo]);
    revocations.add(rows.flatMap(({ id, expires_at_s }) => (id === null ? [] : [{ id, expires_at_s }])));
    readUpTo = rows[0]?.read_at ?? readUpTo;
    revocations.sweep();
  }
  const rereadOrWarn = () =>
    reread().catch((error) => log.warn({ err: error }, "cannot read the revoked sessions; will try again"));

  function hear(payload: string): void {
    heardAt = performance.now();
    const [id, expiresAtS] = payload.split(" ");
    if (id !== undefined && expiresAtS !== undefined) revocations.add([{ id, expires_at_s: Number(expiresAtS) }]);
  }

  /** Resolves when the connection listens. Under load that may take longer than `reopenMs`. */
  async function listen(): Promise<void> {
    openedAt = performance.now();
    patienceMs = CONNECT_TIMEOUT_MS;
    // A connection of its own, outside the pools: it is never idle and never shared.
    const options = connectionOptions(address, 1, { application_name: "conduit listen" });
    sql = new SQL({ ...options, connectionTimeout: CONNECT_TIMEOUT_MS / 1000 });
    // The last function is called after each connection.
    await sql.listen("conduit_session_revoked", hear, () => {
      openedAt = performance.now();
      patienceMs = times.reopenMs;
      // The table has what was missed meanwhile.
      void rereadOrWarn();
    });
  }

  function reopen(): void {
    // A half-open connection may never confirm that it is closed.
    void sql?.close({ timeout: 0 }).catch(() => {});
    // Not awaited, so that the table is read meanwhile.
    void listen().catch((error) => {
      if (!isStopped) log.warn({ err: error }, "cannot listen for revoked sessions; will try again");
    });
  }

  /** One at a time. */
  let beating: Promise<void> | undefined;
  async function beat(): Promise<void> {
    const silentForMs = performance.now() - heardAt;
    const isDue = performance.now() - rereadAt >= times.rereadMs;
    if (isDue || silentForMs >= times.silentMs) await rereadOrWarn();
    if (silentForMs >= times.reopenMs && performance.now() - openedAt >= patienceMs) reopen();
    // Whoever beats first spares the others theirs.
    if (performance.now() - heardAt >= times.everyMs / 2) await db.rows(NOTIFY_BEAT, [BEAT]);
  }

  try {
    await listen();
    await reread();
  } catch (error) {
    await sql?.close({ timeout: 0 });
    throw error;
  }
  const timer = setInterval(() => {
    beating ??= beat()
      // The database cannot be reached, which the next read reports.
      .catch(() => {})
      .finally(() => {
        beating = undefined;
      });
  }, times.everyMs);
  timer.unref();

  return {
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await beating;
      await sql?.close({ timeout: 0 });
    },
  };
}

const NOTIFY_BEAT = write<{ beat: null }>(
  "revocations_heartbeat",
  "select pg_notify('conduit_session_revoked', $1) as beat",
);

// At least one row, for the time.
const REVOKED_SINCE = read<{ id: string | null; expires_at_s: number; read_at: string }>(
  "sessions_revoked_since",
  `select s.id, ceil(extract(epoch from s.access_expires_at))::float8 as expires_at_s,
          (now() - interval '1 minute')::text as read_at
     from (select) as one
     left join sessions s
       on s.revoked_at >= coalesce($1::timestamptz, '-infinity') and s.access_expires_at > now() - interval '5 minutes'`,
);
