import { SQL } from "bun";
import type { Log } from "../observability/log.ts";
import type { FollowedServer } from "./followed-server.ts";
import { connectionOptions, type Database } from "./pool.ts";
import { write } from "./statements.ts";

/** What receives PostgreSQL's notifications on a channel. Its functions do not throw. */
export type Subscriber = {
  readonly channel: string;
  hear(payload: string): void;
  /** Called after each connection: notifications may have been missed before it. */
  onConnected(): void;
  /**
   * Called about once a second.
   * @param isSilent whether the connection is lost or delivers nothing (a pooler, a half-open connection)
   */
  onBeat(isSilent: boolean): Promise<void>;
};

/** How often the connection is checked, and how long it may be silent. */
export type HeartbeatTimes = {
  readonly everyMs: number;
  /** After this, subscribers know that they hear nothing. */
  readonly silentMs: number;
  /** After this, there is a new connection: a dead one can go unnoticed by TCP for hours. One being opened has 5 s. */
  readonly reopenMs: number;
};

const HEARTBEAT: HeartbeatTimes = { everyMs: 1_000, silentMs: 3_000, reopenMs: 15_000 };

const CONNECT_TIMEOUT_MS = 5_000;

const BEATS = "conduit_heartbeat";

/**
 * Listens on a connection of its own to the primary, outside the pools, which is never idle and never shared. All instances
 * notify each other of nothing, about once a second in total. One that hears nothing for three seconds has lost its
 * connection, or has one that delivers nothing. Resolves when the connection listens on all channels.
 */
export async function openListener(
  primary: FollowedServer,
  db: Database,
  log: Log,
  subscribers: readonly Subscriber[],
  times: HeartbeatTimes = HEARTBEAT,
): Promise<{ stop(): Promise<void> }> {
  let heardAt = performance.now();
  // When the connection was requested or established, and how long it then has until it is given up.
  let openedAt = heardAt;
  let patienceMs = CONNECT_TIMEOUT_MS;
  let isStopped = false;
  let sql: SQL | undefined;

  /** Under load this may take longer than `reopenMs`. */
  async function listen(): Promise<void> {
    openedAt = performance.now();
    patienceMs = CONNECT_TIMEOUT_MS;
    const options = connectionOptions(primary.server(), 1, { application_name: "conduit listen" });
    const opened = new SQL({ ...options, connectionTimeout: CONNECT_TIMEOUT_MS / 1000 });
    sql = opened;
    const hear = () => {
      heardAt = performance.now();
    };
    // The last function is called after each connection, as the driver replaces one that closes.
    await opened.listen(BEATS, hear, () => {
      openedAt = performance.now();
      patienceMs = times.reopenMs;
    });
    for (const subscriber of subscribers) {
      const hearPayload = (payload: string) => {
        hear();
        subscriber.hear(payload);
      };
      await opened.listen(subscriber.channel, hearPayload, subscriber.onConnected);
    }
  }

  function reopen(): void {
    // A half-open connection may never confirm that it is closed.
    void sql?.close({ timeout: 0 }).catch(() => {});
    // Not awaited, so that subscribers do something meanwhile.
    void listen().catch((error) => {
      if (!isStopped) log.warn({ err: error }, "cannot listen for notifications; will try again");
    });
  }

  /** What waits for the database. One at a time for each subscriber and for the beat, and none waits for another. */
  const running = new Map<unknown, Promise<void>>();
  function runAlone(key: unknown, run: () => Promise<unknown>): void {
    if (running.has(key)) return;
    const ended = run()
      // The database cannot be reached, which the next read reports.
      .catch(() => {})
      .then(() => void running.delete(key));
    running.set(key, ended);
  }

  const isImpatient = () => performance.now() - openedAt >= patienceMs;

  function beat(): void {
    const silentForMs = performance.now() - heardAt;
    const isSilent = silentForMs >= times.silentMs;
    // Well before subscribers hear of the silence: they treat it differently if the primary is away. A primary that hangs
    // shows here first.
    if (silentForMs >= times.silentMs / 2) void primary.search();
    for (const subscriber of subscribers) runAlone(subscriber, () => subscriber.onBeat(isSilent));
    if (silentForMs >= times.reopenMs && isImpatient()) reopen();
    // Whoever beats first spares the others theirs.
    if (silentForMs >= times.everyMs / 2) runAlone(BEATS, () => db.rows(NOTIFY_BEAT, [BEATS]));
  }

  try {
    await listen();
  } catch (error) {
    await sql?.close({ timeout: 0 });
    throw error;
  }
  const timer = setInterval(beat, times.everyMs);
  timer.unref();
  primary.onFound((hasMoved) => {
    const isSilent = performance.now() - heardAt >= times.silentMs;
    // After an outage, the driver would take its time.
    if (!isStopped && (hasMoved || (isSilent && isImpatient()))) reopen();
    // A pooler keeps the connections of its clients when its node becomes a standby, so only this one shows it.
    if (!isStopped && hasMoved && primary !== db.primary) void db.primary.search();
  });

  return {
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await Promise.all(running.values());
      await sql?.close({ timeout: 0 });
    },
  };
}

const NOTIFY_BEAT = write<{ beat: null }>("heartbeat", "select pg_notify($1, 'beat') as beat");
