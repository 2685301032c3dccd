import type { Queries } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";
import { unauthorized } from "../../http/errors.ts";
import { type LockedUser, lockUser } from "./lock-user.ts";

/** Who writes: a user, and the session whose token the request carries. `c.var` behind `requireUser` has both. */
export type CurrentSession = { readonly userId: string; readonly sessionId: string };

/** The parameters of `currentUser`. */
export const sessionParameters = ({ userId, sessionId }: CurrentSession) => ({ viewerId: userId, sessionId });

/**
 * SQL for the row of the user who writes; no row if the session has ended. Every statement that writes for a user begins
 * with this, and changes nothing without that row. A server may not have heard of a revocation yet, as when its connection
 * for notifications is late; the statement reads the table itself, so a revoked token writes nothing.
 * @param columns of `users`
 * @param lock how to lock the row, such as `for key share`
 */
export const currentUser = (columns: "id" | "*", lock = ""): string =>
  `select ${columns} from users where ${isCurrent(":viewerId::bigint", ":sessionId::uuid")} ${lock}`;

/** The types of `sessionParameters` in a batch. */
export const SESSION_TYPES = { viewerId: "bigint", sessionId: "uuid" } as const;

/** The same for each item of a batch, in a lateral join. */
export const userOfItem = (columns: string, lock = ""): string =>
  // The limit keeps the planner, which does not know how few items there are, from reading the whole table.
  `select ${columns} from users where ${isCurrent('item."viewerId"', 'item."sessionId"')} limit 1 ${lock}`;

const isCurrent = (viewerId: string, sessionId: string): string =>
  `id = ${viewerId}
      and exists (select from sessions s
                   where s.id = ${sessionId} and s.user_id = users.id and s.revoked_at is null)`;

/** The 401 for a valid token whose session has ended. The sessions of a user who no longer exists have ended, too. */
export const sessionEnded = (): Error => unauthorized(SESSION_ENDED);

export const SESSION_ENDED = "belongs to a session that has ended";

/**
 * Locks the row of the user of a session until the transaction ends, as `lockUser` does. Throws 401 if the session has
 * ended. Whoever ends sessions locks the same row, so the session lasts as long as the transaction.
 */
export async function lockCurrentUser(tx: Queries, { userId, sessionId }: CurrentSession): Promise<LockedUser> {
  const user = await lockUser(tx, userId);
  if (user === undefined || (await tx.row(SESSION_IS_LIVE, [sessionId, userId])) === undefined) throw sessionEnded();
  return user;
}

const SESSION_IS_LIVE = read<{ id: string }>(
  "session_is_live",
  "select id from sessions where id = $1::uuid and user_id = $2::bigint and revoked_at is null",
);
