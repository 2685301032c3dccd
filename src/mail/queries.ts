import type { Database } from "../db/pool.ts";
import { read, write } from "../db/statements.ts";
import type { MailKind } from "./queue.ts";

/** A mail that this worker alone may send, until its claim ends. */
export type ClaimedMail = {
  readonly id: string;
  readonly message_id: string;
  readonly kind: MailKind;
  readonly user_id: string | null;
  readonly to_address: string;
  readonly username: string | null;
  readonly detail: string | null;
  readonly sealed: Uint8Array | null;
  readonly created_at: Date;
  /** Which attempt this is, from 1 on. */
  readonly attempts: number;
};

const MAIL = "id, message_id, kind, user_id, to_address, username, detail, sealed, created_at, attempts";

/** Claims what is due, the longest waiting first; no other worker gets it within `leaseS` seconds. */
export function claimMail(db: Database, limit: number, leaseS: number): Promise<ClaimedMail[]> {
  return db.rows(MAIL_CLAIM, [limit, leaseS]);
}

const MAIL_CLAIM = write<ClaimedMail>(
  "mail_claim",
  `update outbox set due_at = now() + $2::float8 * interval '1 second', attempts = attempts + 1
    where id in (
      select id from outbox
       where sent_at is null and dead_at is null and due_at <= now()
       order by due_at, id
       limit $1::integer
         for update skip locked)
   returning ${MAIL}`,
);

/** Removes a reset that was asked for, once its mail is in the outbox or there is none to send. */
export async function removeMail(db: Database, mail: ClaimedMail): Promise<void> {
  await db.rows(MAIL_REMOVE, [mail.id]);
}

const MAIL_REMOVE = write("mail_remove", "delete from outbox where id = $1::bigint");

/** Notes that a mail was sent. Its token is no longer needed. */
export async function markSent(db: Database, mail: ClaimedMail): Promise<void> {
  await db.rows(MAIL_SENT, [mail.id]);
}

const MAIL_SENT = write(
  "mail_sent",
  "update outbox set sent_at = now(), sealed = null, fault = null where id = $1::bigint and dead_at is null",
);

/** Notes that an attempt failed, and when the next may be. Does nothing where the mail has been claimed anew since. */
export async function markFailed(db: Database, mail: ClaimedMail, fault: string, retryInS: number): Promise<void> {
  await db.rows(MAIL_FAILED, { id: mail.id, attempts: mail.attempts, fault, retryInS });
}

const MAIL_FAILED = write(
  "mail_failed",
  `update outbox set fault = :fault, due_at = now() + :retryInS::float8 * interval '1 second'
    where id = :id::bigint and attempts = :attempts::integer and sent_at is null`,
);

/** Gives a mail up. It stays in the table, for people to look at. */
export async function markDead(db: Database, mail: ClaimedMail, fault: string): Promise<void> {
  await db.rows(MAIL_DEAD, [mail.id, mail.attempts, fault]);
}

const MAIL_DEAD = write(
  "mail_dead",
  `update outbox set fault = $3, dead_at = now(), sealed = null
    where id = $1::bigint and attempts = $2::integer and sent_at is null`,
);

export type OutboxState = {
  /** Mails that are neither sent nor given up. */
  readonly waiting: number;
  /** Age of the oldest of them in seconds, 0 where there is none. */
  readonly oldest_s: number;
};

/** How full the outbox is. Reads what waits, by the index that has nothing else. */
export async function readOutbox(db: Database): Promise<OutboxState | undefined> {
  return await db.row(OUTBOX_STATE, []);
}

const OUTBOX_STATE = read<OutboxState>(
  "outbox_state",
  `select count(*)::integer as waiting,
          coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest_s
     from outbox where sent_at is null and dead_at is null`,
);

/** Removes what was sent a week ago or given up a month ago. */
export async function purgeMail(db: Database): Promise<void> {
  await db.rows(MAIL_PURGE, []);
}

const MAIL_PURGE = write(
  "mail_purge",
  "delete from outbox where sent_at < now() - interval '7 days' or dead_at < now() - interval '30 days'",
);
