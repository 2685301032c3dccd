import type { Queries } from "../../db/pool.ts";
import { write } from "../../db/statements.ts";

/** The row of a user, as the transaction that holds its lock sees it. */
export type LockedUser = {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly email_key: string;
  readonly email_verified: boolean;
  readonly password_hash: string;
};

/**
 * Locks the row of a user until the transaction ends; undefined if there is no such user.
 *
 * Every transaction that changes the sessions, links, password or address of a user begins with this, so that two of them
 * run one after the other. Each later statement sees everything that earlier holders of the lock committed. They cannot
 * deadlock with the single statements of this feature, which lock rows of one table only.
 */
export function lockUser(tx: Queries, userId: string): Promise<LockedUser | undefined> {
  return tx.row(USER_LOCK, [userId]);
}

/** The same, for the user with this email key. */
export function lockUserByEmail(tx: Queries, emailKey: string): Promise<LockedUser | undefined> {
  return tx.row(USER_LOCK_BY_EMAIL, [emailKey]);
}

/** The name for a mail to the user's address; null before it is confirmed: it may be a stranger's. */
export const greetingName = (user: LockedUser): string | null => (user.email_verified ? user.username : null);

const LOCKED_USER = "id, username, email, email_key, email_verified_at is not null as email_verified, password_hash";

// "No key" leaves foreign keys alone: publishing an article does not wait for a change of the password.
const USER_LOCK = write<LockedUser>(
  "user_lock",
  `select ${LOCKED_USER} from users where id = $1::bigint for no key update`,
);

const USER_LOCK_BY_EMAIL = write<LockedUser>(
  "user_lock_by_email",
  `select ${LOCKED_USER} from users where email_key = $1 for no key update`,
);
