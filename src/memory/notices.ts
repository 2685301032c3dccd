import { AsyncLocalStorage } from "node:async_hooks";
import type { Subscriber } from "../db/listener.ts";
import type { Database } from "../db/pool.ts";
import { textArray, write } from "../db/statements.ts";
import type { Log } from "../observability/log.ts";
import type { Memory } from "./memory.ts";

/** Notifies the other instances of what this one has changed. */
export type Notices = {
  /** Notifies them soon. What cannot be sent is lost: they see the change when their values are too old. */
  send(topics: readonly string[]): void;
  /** Sends what has not been sent. */
  stop(): Promise<void>;
};

const CHANNEL = "conduit_changed";

/** The changes of this time travel together: a notification costs PostgreSQL as much as a small write. */
const DELAY_MS = 5;

/** PostgreSQL accepts less than 8,000 bytes. */
const PAYLOAD_BYTES_MAX = 7_900;
/** Beyond this many payloads at a time, one says that everything has changed. */
const PAYLOADS_MAX = 20;
const EVERYTHING = "*";

/**
 * Notifies after the commit. Within the transaction that writes, `pg_notify` would take a lock until the commit is on disk,
 * so that commits would wait for each other (docs/decisions/0029-memory.md).
 * @param serverId the same for all processes of this server, which report to each other in another way
 */
export function createNotices(db: Database, serverId: string, log: Log): Notices {
  let waiting = new Set<string>();
  let sending: Promise<void> | undefined;
  // Not a part of the request, and its trace, that is the first to report something.
  const outsideRequests = AsyncLocalStorage.snapshot();

  async function sendWaiting(): Promise<void> {
    while (waiting.size > 0) {
      await Bun.sleep(DELAY_MS);
      const topics = waiting;
      waiting = new Set();
      await db.rows(CHANGES_NOTIFY, [CHANNEL, textArray(payloadsOf(serverId, topics))]);
    }
  }

  return {
    send(topics) {
      for (const topic of topics) waiting.add(topic);
      sending ??= outsideRequests(sendWaiting)
        .catch((error) => log.warn({ err: error }, "cannot notify other servers of changes"))
        .finally(() => {
          sending = undefined;
        });
    },
    async stop() {
      await sending;
    },
  };
}

const CHANGES_NOTIFY = write<{ sent: null }>(
  "changes_notify",
  "select pg_notify($1, payload) as sent from unnest($2::text[]) payload",
);

/** Each is the server's id and a JSON array of topics. */
function payloadsOf(serverId: string, topics: Iterable<string>): string[] {
  const payloads: string[] = [];
  let payload: string[] = [];
  let bytes = 0;
  const finish = () => payloads.push(serverId + JSON.stringify(payload));
  for (const topic of topics) {
    const topicBytes = Buffer.byteLength(JSON.stringify(topic)) + 1;
    if (bytes + topicBytes > PAYLOAD_BYTES_MAX - serverId.length) {
      finish();
      payload = [];
      bytes = 0;
    }
    payload.push(topic);
    bytes += topicBytes;
  }
  finish();
  return payloads.length > PAYLOADS_MAX ? [serverId + JSON.stringify([EVERYTHING])] : payloads;
}

/** Forgets what other servers have changed, and serves from memory only while they can be heard. */
export function followNotices(memory: Memory, serverId: string): Subscriber {
  return {
    channel: CHANNEL,
    hear(payload) {
      if (payload.startsWith(serverId)) return;
      const topics = JSON.parse(payload.slice(serverId.length)) as string[];
      if (topics.includes(EVERYTHING)) memory.forgetEverything();
      else memory.forget(topics);
    },
    onConnected() {
      memory.forgetEverything();
      memory.setServing(true);
    },
    async onBeat(isSilent) {
      // Repeated, as what is kept while the database is away has to go when it is back.
      if (isSilent || !memory.isServing()) memory.setServing(!isSilent);
    },
  };
}
