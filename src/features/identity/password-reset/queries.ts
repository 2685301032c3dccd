import type { Database } from "../../../db/pool.ts";
import { write } from "../../../db/statements.ts";
import { enqueueMail, type NewLink } from "../../../mail/queue.ts";
import { addLink, endAddressChange, endLaterUndoLinks, findLink, linkExpired, markLinkUsed } from "../email-links.ts";
import { clearLoginAttempts } from "../known-networks.ts";
import { greetingName, lockUser, lockUserByEmail } from "../lock-user.ts";
import { endSessions } from "../sessions/queries.ts";
import type { Revocation } from "../sessions/revocations.ts";
import { emailKeyOf } from "../users/emails.ts";

/**
 * Enqueues a request for a password reset. The statement and the row are the same for a known and an unknown address, so
 * neither the response nor its time reveals which it was. The mail job looks the user up and calls `completeReset`.
 */
export async function requestReset(db: Database, email: string): Promise<void> {
  await enqueueMail(db, { kind: "reset_password", userId: null, to: email, username: null });
}

/**
 * Completes a request for a password reset: enqueues the email with the link, to the address as the user spelled it. Does
 * nothing if no user has this address. If it runs twice, the second link replaces the first.
 */
export async function completeReset(db: Database, email: string, link: NewLink): Promise<void> {
  await db.transaction(async (tx) => {
    const user = await lockUserByEmail(tx, emailKeyOf(email));
    if (user === undefined) return;
    await addLink(tx, "reset", user.id, { email: user.email, emailKey: user.email_key }, link.hash);
    const mail = { userId: user.id, to: user.email, username: greetingName(user), sealedToken: link.sealed };
    await enqueueMail(tx, { kind: "reset_password", ...mail });
  });
}

/**
 * Sets a new password by a link, which also verifies the address, and ends every session of the user: the `Revocation[]`.
 * Throws 404 if the link is unknown, 410 if it was used, replaced or has expired.
 * @param notifyUser whether to enqueue an email about the new password
 */
export async function resetPassword(
  db: Database,
  token: string,
  passwordHash: string,
  notifyUser: boolean,
): Promise<Revocation[]> {
  const link = await findLink(db, token, "reset");
  return db.transaction(async (tx) => {
    const user = await lockUser(tx, link.user_id);
    // The links of a deleted user are deleted with it. A change of the address ends its reset links; the comparison also
    // covers a change by hand.
    if (user?.email_key !== link.email_key) throw linkExpired();
    await markLinkUsed(tx, link);
    await tx.rows(PASSWORD_RESET, [user.id, passwordHash]);
    await endAddressChange(tx, user.id, user.email_key);
    await endLaterUndoLinks(tx, user.id, user.email_key);
    // Somebody's guesses may have locked the user out: the new password works at once.
    await clearLoginAttempts(tx, user.id, user.email_key);
    const revoked = await endSessions(tx, user.id, null, "reset");
    if (notifyUser) {
      await enqueueMail(tx, { kind: "password_changed", userId: user.id, to: user.email, username: user.username });
    }
    return revoked;
  });
}

const PASSWORD_RESET = write(
  "password_reset",
  `update users set password_hash = $2, email_verified_at = coalesce(email_verified_at, now())
    where id = $1::bigint`,
);
