import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Log } from "../observability/log.ts";
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
 * Listens on a connection of its own, outside the pools, which is never idle and never shared. All instances notify each
 * other of nothing, about once a second in total. One that hears nothing for three seconds has lost its connection, or has
 * one that delivers nothing. Resolves when the connection listens on all channels.
 */
export async function openListener(
  address: DatabaseAddress,
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
    const options = connectionOptions(address, 1, { application_name: "conduit listen" });
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

  async function beat(): Promise<void> {
    const silentForMs = performance.now() - heardAt;
    await Promise.all(subscribers.map((subscriber) => subscriber.onBeat(silentForMs >= times.silentMs)));
    if (silentForMs >= times.reopenMs && performance.now() - openedAt >= patienceMs) reopen();
    // Whoever beats first spares the others theirs.
    if (performance.now() - heardAt >= times.everyMs / 2) await db.rows(NOTIFY_BEAT, [BEATS]);
  }

  try {
    await listen();
  } catch (error) {
    await sql?.close({ timeout: 0 });
    throw error;
  }
  /** One at a time. */
  let beating: Promise<void> | undefined;
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

const NOTIFY_BEAT = write<{ beat: null }>("heartbeat", "select pg_notify($1, 'beat') as beat");
