import type { Database } from "../db/pool.ts";
import type { Log } from "../observability/log.ts";
import { type LinkUrls, messageOf } from "./messages.tsx";
import { linkHash, type OutboxKeys } from "./outbox.ts";
import { type ClaimedMail, claimMail, markDead, markFailed, markSent, removeMail } from "./queries.ts";
import { RefusedForGood, type Transport } from "./transport.ts";

export type MailWorkerOptions = {
  readonly db: Database;
  readonly log: Log;
  readonly outbox: OutboxKeys;
  readonly transport: Transport;
  readonly urls: LinkUrls;
  /** What is after the @ of a Message-ID. */
  readonly domain: string;
  /** Enqueues the mail with the link, if a user has this address. */
  readonly completeReset: (email: string) => Promise<void>;
  /** Makes a link that is still good last its whole time again, as its mail goes out late. */
  readonly renewLink: (tokenHash: string) => Promise<void>;
  /** How often to look for mail that is due. */
  readonly lookEveryMs?: number;
};

/**
 * A mail that is being sent belongs to one worker for this long. More than a transport may take, so that in ordinary
 * operation no second one begins; and how long a mail waits whose worker died.
 */
const LEASE_S = 300;
/** How many are sent at a time. */
const AT_ONCE = 5;
const STOP_WITHIN_MS = 5_000;
const LATE_S = 60;
const GIVE_UP_AFTER_S = 24 * 3600;

/** Seconds until the next attempt: 5, 10, 20 … up to 15 minutes, and up to half of it more or less. */
export function backoffS(attempts: number): number {
  const base = Math.min(5 * 2 ** (attempts - 1), 900);
  return base * (0.5 + Math.random());
}

/** Sends what is in the outbox, until stopped. Any number of workers may share a database. */
export function startMailWorker(options: MailWorkerOptions): { stop(): Promise<void> } {
  const { db, log, outbox, transport, lookEveryMs = 1_000 } = options;
  let isStopping = false;
  let wakeUp = () => {};
  let isAwake = true;
  const wake = () => {
    isAwake = true;
    wakeUp();
  };
  const running = run();

  async function run(): Promise<void> {
    while (!isStopping) {
      isAwake = false;
      // A full round may have left some.
      if ((await sendDue()) === AT_ONCE) continue;
      if (!isAwake && !isStopping) await sleep();
    }
  }

  function sleep(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, lookEveryMs * (0.75 + Math.random() / 2));
      timer.unref();
      wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function sendDue(): Promise<number> {
    try {
      const due = await claimMail(db, AT_ONCE, LEASE_S);
      await Promise.all(due.map(deliver));
      return due.length;
    } catch (error) {
      // The database is away. What was claimed comes back when the claim ends.
      log.warn({ err: error }, "cannot read the outbox; trying again");
      return 0;
    }
  }

  async function deliver(claimed: ClaimedMail): Promise<void> {
    const fields = { "mail.id": claimed.id, "mail.kind": claimed.kind, "mail.attempt": claimed.attempts };
    try {
      if (claimed.kind === "reset_password" && claimed.user_id === null) {
        await options.completeReset(claimed.to_address);
        return await removeMail(db, claimed);
      }
      const token = tokenOf(claimed);
      // What is late may be later than its link is good for.
      if (token !== null && (claimed.attempts > 1 || ageOf(claimed) > LATE_S)) await options.renewLink(linkHash(token));
      await transport.send(messageOf(claimed, token, options.urls, options.domain));
    } catch (error) {
      const fault = (error instanceof Error ? error.message : String(error)).slice(0, 500);
      // For the log the codes alone: what a mail server says may name the address.
      const { code, responseCode } = error as { code?: unknown; responseCode?: unknown };
      const logged = {
        ...fields,
        "mail.fault": [code ?? (error as Error).name, responseCode].filter(Boolean).join(" "),
      };
      if (error instanceof RefusedForGood || error instanceof CannotUnseal || ageOf(claimed) > GIVE_UP_AFTER_S) {
        log.error(logged, "gave a mail up");
        return markDead(db, claimed, fault);
      }
      const retryInS = backoffS(claimed.attempts);
      log.warn({ ...logged, retry_in_s: Math.round(retryInS) }, "could not send a mail");
      return markFailed(db, claimed, fault, retryInS);
    }
    await markSent(db, claimed);
    log.info(fields, "sent a mail");
  }

  function ageOf(mail: ClaimedMail): number {
    return (Date.now() - mail.created_at.getTime()) / 1000;
  }

  function tokenOf(mail: ClaimedMail): string | null {
    if (mail.sealed === null) return null;
    try {
      return outbox.unseal(mail.sealed);
    } catch (cause) {
      throw new CannotUnseal("the link was made under another JWT_SECRET", { cause });
    }
  }

  return {
    async stop() {
      isStopping = true;
      wake();
      // What takes longer is left to its claim's end.
      await Promise.race([running, Bun.sleep(STOP_WITHIN_MS)]);
      transport.close();
    },
  };
}

class CannotUnseal extends Error {
  override name = "CannotUnseal";
}
