import { violatedConstraint } from "../../../db/errors.ts";
import type { Database } from "../../../db/pool.ts";
import { write } from "../../../db/statements.ts";
import { taken } from "../../../http/errors.ts";
import { enqueueMail } from "../../../mail/queue.ts";
import { endLaterUndoLinks, endLinks, findLink, linkExpired, markLinkUsed } from "../email-links.ts";
import { clearLoginAttempts } from "../known-networks.ts";
import { greetingName, lockUser } from "../lock-user.ts";
import { endSessions } from "../sessions/queries.ts";
import type { Revocation } from "../sessions/revocations.ts";

/**
 * Gives an account back to the owner of an address that it had: restores the address, sets a new password, and ends every
 * session and every other link: the `Revocation[]`. Links to addresses that the account had before that one stay.
 * Throws 404 if the link is unknown, 410 if it was used or has expired, 409 if another user has the address.
 * @param notifyUser whether to enqueue emails to both addresses. The one that goes gets no link: who had the account first
 * has the last word
 */
export async function undoEmailChange(
  db: Database,
  token: string,
  passwordHash: string,
  notifyUser: boolean,
): Promise<Revocation[]> {
  const link = await findLink(db, token, "undo");
  try {
    return await db.transaction(async (tx) => {
      const user = await lockUser(tx, link.user_id);
      // The links of a deleted user are deleted with it.
      if (user === undefined) throw linkExpired();
      await markLinkUsed(tx, link);
      await tx.rows(EMAIL_RESTORE, { id: user.id, email: link.email, emailKey: link.email_key, passwordHash });
      await endLaterUndoLinks(tx, user.id, link.email_key, link.id);
      await endLinks(tx, user.id, "verify");
      await endLinks(tx, user.id, "reset");
      await clearLoginAttempts(tx, user.id, link.email_key);
      const revoked = await endSessions(tx, user.id, null, "undo");
      if (notifyUser) {
        await enqueueMail(tx, { kind: "password_changed", userId: user.id, to: link.email, username: user.username });
        if (user.email_key !== link.email_key) {
          const mail = { userId: user.id, to: user.email, username: greetingName(user) };
          await enqueueMail(tx, { kind: "email_changed", ...mail });
        }
      }
      return revoked;
    });
  } catch (error) {
    if (violatedConstraint(error) === "users_email_key") throw taken("email");
    throw error;
  }
}

// Whoever has the link can read the mail of the address.
const EMAIL_RESTORE = write(
  "email_restore",
  `update users set email = :email, email_key = :emailKey, email_verified_at = now(), password_hash = :passwordHash,
                   updated_at = now()
    where id = :id::bigint`,
);
