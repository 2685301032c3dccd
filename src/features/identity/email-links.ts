import type { Database, Queries } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { read, write } from "../../db/statements.ts";
import { ApiError, notFound, taken } from "../../http/errors.ts";
import { linkHash } from "../../mail/links.ts";
import type { Mail } from "../../mail/queue.ts";

// Links that are sent by email: to verify an address, to reset a password, to undo a change of the address. Each works once.

export type LinkPurpose = "verify" | "reset" | "undo";

// A person on holiday reads about a change of the address days later.
const TTL_S = { verify: 24 * 3600, reset: 3600, undo: 7 * 24 * 3600 } as const satisfies Record<LinkPurpose, number>;

/** An address, as its user spelled it and as the key that it is compared by. */
export type Address = { readonly email: string; readonly emailKey: string };

export type EmailLink = {
  readonly id: string;
  readonly user_id: string;
  readonly username: string;
  readonly email: string;
  readonly email_key: string;
  /** Neither used, replaced nor expired. */
  readonly is_live: boolean;
};

/** However often a link is renewed. */
const AGE_MAX_S = 30 * 24 * 3600;

/**
 * Adds a link to an address of a user and ends the previous one. A link that undoes a change ends none: each change has its
 * own. It renews the earlier ones instead, so that none of them expires before it (`endLaterUndoLinks`). The caller has
 * locked the user row.
 * @param tokenHash `NewLink.hash`
 */
export async function addLink(
  tx: Queries,
  purpose: LinkPurpose,
  userId: string,
  { email, emailKey }: Address,
  tokenHash: string,
): Promise<void> {
  if (purpose !== "undo") await endLinks(tx, userId, purpose);
  await tx.rows(LINK_ADD, { tokenHash, userId, purpose, email, emailKey, ttlS: TTL_S[purpose] });
  if (purpose === "undo") await renewLink(tx, tokenHash);
}

const LINK_ADD = write(
  "email_link_add",
  `insert into email_links (token_hash, user_id, purpose, email, email_key, expires_at)
   values (decode(:tokenHash, 'hex'), :userId::bigint, :purpose, :email, :emailKey,
           now() + :ttlS::float8 * interval '1 second')`,
);

/** The link of a token, live or not. Throws 404. */
export async function findLink(db: Queries, token: string, purpose: LinkPurpose): Promise<EmailLink> {
  const link = await db.row(LINK, [linkHash(token), purpose]);
  if (link === undefined) throw notFound("token");
  return link;
}

const LINK = read<EmailLink>(
  "email_link",
  `select l.id, l.user_id, u.username, l.email, l.email_key,
          l.used_at is null and l.ended_at is null and l.expires_at > now() as is_live
     from email_links l join users u on u.id = l.user_id
    where l.token_hash = decode($1, 'hex') and l.purpose = $2`,
);

/** A link that would work now; leaves it unused. Throws 404, and 410 if it was used, replaced or has expired. */
export async function checkLink(db: Queries, token: string, purpose: LinkPurpose): Promise<EmailLink> {
  const link = await findLink(db, token, purpose);
  if (!link.is_live) throw linkExpired();
  return link;
}

/** Marks a link as used. Throws 410 if it was used, replaced or has expired. The caller has locked the user row. */
export async function markLinkUsed(tx: Queries, link: EmailLink): Promise<void> {
  if ((await tx.row(LINK_USE, [link.id])) === undefined) throw linkExpired();
}

const LINK_USE = write<{ id: string }>(
  "email_link_use",
  `update email_links set used_at = now()
    where id = $1::bigint and used_at is null and ended_at is null and expires_at > now()
   returning id`,
);

export const linkExpired = (): ApiError => new ApiError("gone", { token: ["has already been used or has expired"] });

/** Throws 503 if this server sends no mail. */
export function requireMail(mail: Mail): void {
  if (mail.isEnabled) return;
  const problem = "cannot be sent: no mail server is configured";
  throw new ApiError("unavailable", { mail: [problem] }, { "Retry-After": "3600" });
}

/** The address that a user's live verification link was sent to; undefined if there is none. */
export function findVerificationAddress(tx: Queries, userId: string): Promise<Address | undefined> {
  return tx.row(LINK_ADDRESS, [userId]);
}

const LINK_ADDRESS = read<Address>(
  "email_link_address",
  `select email, email_key as "emailKey" from email_links
    where user_id = $1::bigint and purpose = 'verify' and used_at is null and ended_at is null`,
);

/** Ends the links of a user for one purpose. The caller has locked the user row. */
export async function endLinks(tx: Queries, userId: string, purpose: LinkPurpose): Promise<void> {
  await tx.rows(LINKS_END, [userId, purpose]);
}

const LINKS_END = write(
  "email_links_end",
  `update email_links set ended_at = now()
    where user_id = $1::bigint and purpose = $2 and used_at is null and ended_at is null`,
);

/**
 * Ends the verification link of an address that waits to replace the user's own. For a new password: whoever had the old
 * one may have requested that change. The caller has locked the user row.
 */
export async function endAddressChange(tx: Queries, userId: string, currentEmailKey: string): Promise<void> {
  await tx.rows(ADDRESS_CHANGE_END, [userId, currentEmailKey]);
}

const ADDRESS_CHANGE_END = write(
  "email_links_end_address_change",
  `update email_links set ended_at = now()
    where user_id = $1::bigint and purpose = 'verify' and email_key <> $2 and used_at is null and ended_at is null`,
);

/**
 * Ends the links of a user that undo changes since the account first moved away from this address: whoever reads its mail
 * had the account before those whom the links went to. To be called when somebody has proved to read it, by the link `usedId`
 * or in another way. Links to earlier addresses stay. The caller has locked the user row.
 */
export async function endLaterUndoLinks(
  tx: Queries,
  userId: string,
  emailKey: string,
  usedId: string | null = null,
): Promise<void> {
  await tx.rows(UNDO_LINKS_END, [userId, emailKey, usedId]);
}

// `least` ignores null.
const UNDO_LINKS_END = write(
  "email_links_end_undo",
  `update email_links set ended_at = now()
    where user_id = $1::bigint and purpose = 'undo' and used_at is null and ended_at is null
      and id >= least($3::bigint, (
        select min(id) from email_links
         where user_id = $1::bigint and purpose = 'undo' and email_key = $2
           and used_at is null and ended_at is null and expires_at > now()))`,
);

/**
 * Throws 409 if another user can still take this address back. To be called after the statement that gives the address to
 * this user: one that waited for the change to commit finds the link only then.
 */
export async function requireNotReserved(tx: Queries, userId: string, emailKey: string): Promise<void> {
  if ((await tx.row(UNDO_LINK_TO, [emailKey, userId])) !== undefined) throw taken("email");
}

const UNDO_LINK_TO = read<{ id: string }>(
  "email_link_undo_to",
  `select id from email_links
    where email_key = $1 and purpose = 'undo' and user_id <> $2::bigint
      and used_at is null and ended_at is null and expires_at > now()
    limit 1`,
);

/**
 * Lets a link that is still unused last its whole time from now on, because its email is sent late. If it undoes a change,
 * the earlier ones of its user last as long as it.
 */
export async function renewLink(db: Queries, tokenHash: string): Promise<void> {
  await db.rows(LINK_RENEW, {
    tokenHash,
    verifyS: TTL_S.verify,
    resetS: TTL_S.reset,
    undoS: TTL_S.undo,
    ageMaxS: AGE_MAX_S,
  });
}

const LINK_RENEW = write(
  "email_link_renew",
  `update email_links l
      set expires_at = least(
            l.created_at + :ageMaxS::float8 * interval '1 second',
            now() + interval '1 second' * case l.purpose
              when 'verify' then :verifyS::float8 when 'reset' then :resetS::float8 else :undoS::float8 end)
     from email_links sent
    where sent.token_hash = decode(:tokenHash, 'hex') and sent.used_at is null and sent.ended_at is null
      and l.user_id = sent.user_id
      and (l.id = sent.id
        or l.id < sent.id and l.purpose = 'undo' and sent.purpose = 'undo'
           and l.used_at is null and l.ended_at is null and l.expires_at > now())`,
);

/** Removes links that expired 30 days ago, at most 10,000. Returns how many. */
export async function purgeEmailLinks(db: Database): Promise<number> {
  return (await db.row(LINKS_PURGE, []))?.purged ?? 0;
}

const LINKS_PURGE = write<{ purged: number }>(
  "email_links_purge",
  `with purged as (
     delete from email_links where id in (
       select id from email_links where expires_at < now() - interval '30 days'
        order by expires_at limit ${PURGE_BATCH} for update skip locked)
     returning id)
   select count(*)::integer as purged from purged`,
);
