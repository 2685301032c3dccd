import { violatedConstraint } from "../../../db/errors.ts";
import type { Database, Queries } from "../../../db/pool.ts";
import { write } from "../../../db/statements.ts";
import { ApiError, taken } from "../../../http/errors.ts";
import { enqueueMail, type NewLink } from "../../../mail/queue.ts";
import {
  type Address,
  addLink,
  endLinks,
  findLink,
  findVerificationAddress,
  linkExpired,
  markLinkUsed,
} from "../email-links.ts";
import { userMissing } from "../guards.ts";
import { lockUser } from "../lock-user.ts";

/**
 * Enqueues the email with a verification link for an address of a user, and ends the previous link. The caller has locked
 * the user row, or inserted it, in the same transaction.
 */
export async function sendVerification(
  tx: Queries,
  user: { id: string; username: string },
  to: Address,
  link: NewLink,
): Promise<void> {
  await addLink(tx, "verify", user.id, to, link.hash);
  const { id: userId, username } = user;
  await enqueueMail(tx, { kind: "verify_email", userId, to: to.email, username, sealedToken: link.sealed });
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

/**
 * Sends a new verification link to the address of a user, or to the one that waits to replace it; the previous link ends.
 * Throws 401 if the user no longer exists, 409 if there is nothing to verify.
 */
export async function resendVerification(db: Database, userId: string, link: NewLink): Promise<void> {
  await db.transaction(async (tx) => {
    const user = await lockUser(tx, userId);
    if (user === undefined) throw userMissing();
    const waiting = await findVerificationAddress(tx, userId);
    if (waiting !== undefined && waiting.emailKey !== user.email_key) {
      await sendVerification(tx, user, waiting, link);
    } else if (!user.email_verified) {
      await sendVerification(tx, user, { email: user.email, emailKey: user.email_key }, link);
    } else {
      throw new ApiError("conflict", { email: ["is already verified"] });
    }
  });
}
