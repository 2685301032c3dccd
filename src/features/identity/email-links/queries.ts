import { violatedConstraint } from "../../../db/errors.ts";
import type { Database } from "../../../db/pool.ts";
import { read, write } from "../../../db/statements.ts";
import { ApiError, notFound, taken } from "../../../http/errors.ts";
import { linkHash, linkMailParts, type NewLink, newLinkParts } from "../../../mail/outbox.ts";
import type { ClaimedMail } from "../../../mail/queries.ts";
import { loginKeyOf } from "../rate-limits.ts";
import { REVOCATION } from "../sessions/queries.ts";
import type { Revocation } from "../sessions/revocations.ts";
import { emailKeyOf, userGone } from "../users/queries.ts";

const linkIsOver = () => new ApiError("gone", { token: ["was used already, or is too old"] });

/** Whether a link `l` is good. */
const LIVE = "l.used_at is null and l.ended_at is null and l.expires_at > now()";

/** Whether the account of a link `l` still has the address that it was mailed to. */
const TO_OWNER = "exists (select from users w where w.id = l.user_id and w.email_key = l.email_key)";

/** Confirms the address of a link. Throws 404 unknown, 410 used, ended or expired, 409 the address is another's by now. */
export async function verifyEmail(db: Database, token: string): Promise<void> {
  try {
    const outcome = await db.row(EMAIL_VERIFY, [linkHash(token)]);
    if (!outcome?.known) throw notFound("token");
    if (!outcome.verified) throw linkIsOver();
  } catch (error) {
    if (violatedConstraint(error) === "users_email_key") throw taken("email");
    throw error;
  }
}

// The address only changes where a new one waited for this (REQUIRE_EMAIL_CONFIRMATION).
const EMAIL_VERIFY = write<{ known: boolean; verified: boolean }>(
  "email_verify",
  `with found as (
     select id from email_links where token_hash = decode($1, 'hex') and purpose = 'verify'),
   used as (
     update email_links l set used_at = now() from found f where l.id = f.id and ${LIVE}
     returning l.user_id, l.email, l.email_key),
   verified as (
     update users u
        set email             = case when u.email_key = n.email_key then u.email else n.email end,
            email_key         = n.email_key,
            email_verified_at = now()
       from used n where u.id = n.user_id
     returning u.id)
   select exists (select from found) as known, exists (select from verified) as verified`,
);

/** Whether a link of this purpose would do now. Throws 404 unknown, 410 used, ended or expired. Uses nothing up. */
export async function checkLink(db: Database, token: string, purpose: "verify" | "reset"): Promise<void> {
  const link = await db.row(LINK, [linkHash(token), purpose]);
  if (link === undefined) throw notFound("token");
  if (!link.live) throw linkIsOver();
}

const LINK = read<{ live: boolean }>(
  "link",
  `select ${LIVE} and (l.purpose = 'verify' or ${TO_OWNER}) as live from email_links l where l.token_hash = decode($1, 'hex') and l.purpose = $2`,
);

/**
 * Mails a new link to the address that waits to be confirmed; the older ones end. Throws 401 where the user is gone, 409
 * where there is nothing to confirm.
 */
export async function resendVerification(db: Database, userId: string, link: NewLink): Promise<void> {
  try {
    const outcome = await db.row(VERIFICATION_RESEND, [userId, link.hash, link.sealed]);
    if (!outcome?.known) throw userGone();
    if (!outcome.sent) throw new ApiError("conflict", { email: ["is confirmed already"] });
  } catch (error) {
    // Asked for twice at once: the other one is being sent.
    if (violatedConstraint(error) !== "email_links_live") throw error;
  }
}

// A new address that waits has a link, which says what it is.
const VERIFICATION_RESEND = write<{ known: boolean; sent: boolean }>(
  "verification_resend",
  `with owner as (
     select u.id, u.username, u.email_verified_at, coalesce(w.email, u.email) as email,
            coalesce(w.email_key, u.email_key) as email_key, w.email_key is distinct from u.email_key and w.id is not null as waits
       from users u
       left join lateral (
         select l.id, l.email, l.email_key from email_links l
          where l.user_id = u.id and l.purpose = 'verify' and l.used_at is null and l.ended_at is null) w on true
      where u.id = $1::bigint),
   receiver as (select id, username, email, email_key from owner where email_verified_at is null or waits),
   ${linkMailParts({ purpose: "verify", kind: "verify_email", to: "receiver", hash: "$2", sealed: "$3" })}
   select exists (select from owner) as known, exists (select from receiver) as sent`,
);

/**
 * Notes that somebody asked for a new password. The same statement and the same row for a known address and an unknown
 * one, so that neither the answer nor its time tells which it was; `completeReset` looks, later and elsewhere.
 */
export async function askForReset(db: Database, email: string): Promise<void> {
  await db.rows(RESET_ASK, [email]);
}

const RESET_ASK = write("reset_ask", "insert into outbox (kind, to_address) values ('reset_password', $1)");

/**
 * Makes of a reset that was asked for a mail with a link, to the address as the account has it; of any other mail, what
 * it is. Null where there is no such account; the mail is removed then.
 */
export async function completeReset(db: Database, mail: ClaimedMail, link: NewLink): Promise<ClaimedMail | null> {
  if (mail.kind !== "reset_password" || mail.user_id !== null) return mail;
  const key = emailKeyOf(mail.to_address);
  const row = await db.row(RESET_COMPLETE, [mail.id, key, link.hash, link.sealed]);
  if (row === undefined) return null;
  const { user_id, username, to_address, sealed } = row;
  return { ...mail, user_id, username, to_address, sealed };
}

const RESET_COMPLETE = write<Pick<ClaimedMail, "user_id" | "username" | "to_address" | "sealed">>(
  "reset_complete",
  `with owner as (
     select u.id, u.username, u.email, u.email_key from users u
      where u.email_key = $2
        and exists (select from outbox o where o.id = $1::bigint and o.user_id is null)),
   removed as (delete from outbox where id = $1::bigint and user_id is null and not exists (select from owner)),
   ${newLinkParts({ purpose: "reset", to: "owner", hash: "$3" })}
   update outbox o
      set user_id = w.id, username = w.username, to_address = w.email, sealed = decode($4, 'hex')
     from owner w where o.id = $1::bigint
   returning o.user_id, o.username, o.to_address, o.sealed`,
);

/**
 * Sets a new password by a link, which proves the address as well, and ends every session of the account: the
 * `Revocation[]`. Throws 404 unknown, 410 used, ended or expired.
 */
export async function resetPassword(db: Database, token: string, passwordHash: string): Promise<Revocation[]> {
  const rows = await db.rows(PASSWORD_RESET, [linkHash(token), passwordHash]);
  if (rows[0]?.known !== true) throw notFound("token");
  if (!rows[0].changed) throw linkIsOver();
  return rows.flatMap((row) => (row.revoked === null ? [] : [row.revoked]));
}

// One row per revoked session, and one at least.
const PASSWORD_RESET = write<{ known: boolean; changed: boolean; revoked: Revocation | null }>(
  "password_reset",
  `with found as (
     select id from email_links where token_hash = decode($1, 'hex') and purpose = 'reset'),
   used as (
     update email_links l set used_at = now() from found f where l.id = f.id and ${LIVE} and ${TO_OWNER}
     returning l.user_id, l.email_key),
   changed as (
     update users u
        set password_hash     = $2,
            email_verified_at = coalesce(u.email_verified_at, now())
       from used n where u.id = n.user_id and u.email_key = n.email_key
     returning u.id, u.email, u.email_key, u.username),
   -- Another address that waits may be that of the one from whom the account is taken back.
   waiting_ended as (
     update email_links l set ended_at = now() from changed c
      where l.user_id = c.id and l.purpose = 'verify' and l.email_key <> c.email_key
        and l.used_at is null and l.ended_at is null),
   -- Who was locked out by somebody's guessing gets in with the new one.
   cleared as (delete from rate_limits r using changed c where r.key = ${loginKeyOf("c.email_key")}),
   revoked as materialized (
     select ${REVOCATION} from (select id as owner_id from changed) c, end_sessions(c.owner_id, null, 'reset')),
   told as (
     insert into outbox (kind, user_id, to_address, username)
     select 'password_changed', id, email, username from changed)
   select exists (select from found) as known, exists (select from changed) as changed, to_json(r) as revoked
     from (select) as one left join revoked r on true`,
);
