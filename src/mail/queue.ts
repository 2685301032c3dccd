import type { Queries } from "../db/pool.ts";
import { write } from "../db/statements.ts";

export type MailKind = "verify_email" | "reset_password" | "password_changed" | "email_changed" | "session_ended";

/** What is stored of a new link: the hash that finds it, and its token encrypted for the email. Hexadecimal text. */
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
  const { kind, userId, to, username, detail = null, sealedToken = null } = mail;
  await tx.rows(MAIL_ENQUEUE, { kind, userId, to, username, detail, sealedToken });
}

const MAIL_ENQUEUE = write(
  "mail_enqueue",
  `insert into outbox (kind, user_id, to_address, username, detail, sealed)
   values (:kind, :userId::bigint, :to, :username, :detail, decode(:sealedToken, 'hex'))`,
);
