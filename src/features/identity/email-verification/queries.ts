import { violatedConstraint } from "../../../db/errors.ts";
import type { Database, Queries } from "../../../db/pool.ts";
import { read, write } from "../../../db/statements.ts";
import { ApiError, taken } from "../../../http/errors.ts";
import { enqueueMail, type NewLink } from "../../../mail/queue.ts";
import { type CurrentSession, lockCurrentUser } from "../current-session.ts";
import {
  type Address,
  addLink,
  endLinks,
  findLink,
  findVerificationAddress,
  linkExpired,
  markLinkUsed,
  requireNotReserved,
} from "../email-links.ts";
import { lockUser } from "../lock-user.ts";

/**
 * Enqueues the email with a verification link for an address of a user, and ends the previous link. The caller has locked
 * the user row, or inserted it, in the same transaction.
 */
export async function sendVerification(tx: Queries, user: { id: string }, to: Address, link: NewLink): Promise<void> {
  await addLink(tx, "verify", user.id, to, link.hash);
  // Without the name: anybody can enter a stranger's address and write to them in a username.
  const mail = { userId: user.id, to: to.email, username: null, sealedToken: link.sealed };
  await enqueueMail(tx, { kind: "verify_email", ...mail });
}

/**
 * Verifies the address of a link. If a new address waited for this, it replaces the old one. Throws 404 if the link is
 * unknown, 410 if it was used, replaced or has expired, 409 if another user has the address by now.
 */
export async function verifyEmail(db: Database, token: string): Promise<void> {
  const link = await findLink(db, token, "verify");
  try {
    await db.transaction(async (tx) => {
      const user = await lockUser(tx, link.user_id);
      // The links of a deleted user are deleted with it.
      if (user === undefined) throw linkExpired();
      await markLinkUsed(tx, link);
      if (user.email_key === link.email_key) {
        await tx.rows(EMAIL_VERIFY, [user.id]);
      } else {
        await tx.rows(EMAIL_REPLACE, [user.id, link.email, link.email_key]);
        await requireNotReserved(tx, user.id, link.email_key);
        // A reset link to the old address must not open an account that has left it.
        await endLinks(tx, user.id, "reset");
      }
    });
  } catch (error) {
    if (violatedConstraint(error) === "users_email_key") throw taken("email");
    throw error;
  }
}

const EMAIL_VERIFY = write("email_verify", "update users set email_verified_at = now() where id = $1::bigint");

const EMAIL_REPLACE = write(
  "email_replace",
  "update users set email = $2, email_key = $3, email_verified_at = now() where id = $1::bigint",
);

/** The address that `resendVerification` would send to. Throws 401, 409 as that does. */
export async function findAddressToVerify(db: Database, userId: string): Promise<Address> {
  const address = await db.row(ADDRESS_TO_VERIFY, [userId]);
  if (address === undefined) throw alreadyVerified();
  return address;
}

const ADDRESS_TO_VERIFY = read<Address>(
  "address_to_verify",
  `select coalesce(l.email, u.email) as email, coalesce(l.email_key, u.email_key) as "emailKey"
     from users u
     left join email_links l
       on l.user_id = u.id and l.purpose = 'verify' and l.email_key <> u.email_key and l.used_at is null and l.ended_at is null
    where u.id = $1::bigint and (u.email_verified_at is null or l.id is not null)`,
);

const alreadyVerified = (): ApiError => new ApiError("conflict", { email: ["is already verified"] });

/**
 * Sends a new verification link to the address of a user, or to the one that waits to replace it; the previous link ends.
 * Throws 401 if the session has ended, 409 if there is nothing to verify.
 */
export async function resendVerification(db: Database, session: CurrentSession, link: NewLink): Promise<void> {
  await db.transaction(async (tx) => {
    const user = await lockCurrentUser(tx, session);
    const waiting = await findVerificationAddress(tx, user.id);
    if (waiting !== undefined && waiting.emailKey !== user.email_key) {
      await sendVerification(tx, user, waiting, link);
    } else if (!user.email_verified) {
      await sendVerification(tx, user, { email: user.email, emailKey: user.email_key }, link);
    } else {
      throw alreadyVerified();
    }
  });
}
