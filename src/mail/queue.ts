import { z } from "zod";
import type { Queries } from "../db/pool.ts";
import { addJob, type JobType } from "../jobs/queue.ts";

const KINDS = ["verify_email", "reset_password", "password_changed", "email_changed", "session_ended"] as const;

export type MailKind = (typeof KINDS)[number];

/** What is stored of a new link: the hash that finds it, and its token encrypted for the mail. Hexadecimal text. */
export type NewLink = { readonly hash: string; readonly sealed: string };

/** What features need to send mail. */
export type Mail = {
  /** Whether this server sends mail. Features enqueue none where it does not. */
  readonly isEnabled: boolean;
  newLink(): NewLink;
};

/** A mail to send: what its text is made of, not the text itself. */
export type NewMail = {
  readonly kind: MailKind;
  /** Null for a password reset whose user has not been looked up yet. */
  readonly userId: string | null;
  readonly to: string;
  readonly username: string | null;
  /** What the kind shows besides: a device, an address. */
  readonly detail?: string | null;
  /** `NewLink.sealed` */
  readonly sealedToken?: string | null;
};

/** Adds a mail to the queue in the caller's transaction: it is sent if that transaction commits. */
export async function enqueueMail(tx: Queries, mail: NewMail): Promise<void> {
  await addJob(tx, MAIL_JOB, { detail: null, sealedToken: null, ...mail, messageId: crypto.randomUUID() });
}

const QueuedMail = z.object({
  /** In the Message-ID, the same at every attempt, so that a mailbox that gets a message twice can tell. */
  messageId: z.string(),
  kind: z.enum(KINDS),
  userId: z.string().nullable(),
  to: z.string(),
  username: z.string().nullable(),
  detail: z.string().nullable(),
  sealedToken: z.string().nullable(),
});
export type QueuedMail = z.infer<typeof QueuedMail>;

export const MAIL_JOB = {
  name: "mail",
  payload: QueuedMail,
  // The first 8 attempts are made within half an hour, the others every 15 minutes, the last about a day after the first.
  attemptsMax: 100,
  // More than the four steps that `smtpTransport` may take.
  timeoutMs: 65_000,
} satisfies JobType<QueuedMail>;
