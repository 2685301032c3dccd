import type { Context } from "hono";
import type { Database } from "../../../db/pool.ts";
import { ApiError, invalid } from "../../../http/errors.ts";
import type { IdentityContext } from "../context.ts";
import type { CurrentSession } from "../current-session.ts";
import type { HashCaller } from "../hashing-queue.ts";
import { loginAttempts } from "../known-networks.ts";
import { networkKeyOf } from "../networks.ts";
import { checkHashingRoom, hashPassword, verifyPassword } from "../passwords.ts";
import type { Attempt, RateLimits } from "../rate-limits.ts";
import type { OpenedSession } from "../sessions/queries.ts";
import { clientOf } from "../sessions/routes.ts";
import { emailKeyOf, mailboxOf } from "./emails.ts";
import { wrongCurrentPassword } from "./new-passwords.ts";
import { findForLogin, findPasswordHash, findUser, registerUser, signIn, type UserRow, updateUser } from "./queries.ts";
import { sameKey } from "./rules.ts";
import type { Credentials, NewUser, UserChanges } from "./schema.ts";

// What the routes of the API and the pages do alike: several steps around one query function.

/**
 * Registers a user with a first session. The guard has counted the request for the client's address. Throws 409, 422, and 429
 * and 503 as the limits do.
 */
export async function registerByRequest(
  c: Context,
  db: Database,
  context: IdentityContext,
  { username, email, password }: NewUser,
): Promise<{ user: UserRow; session: OpenedSession }> {
  const { addressOf, checkNewPassword, limits, mail, memory, sessionLimits } = context;
  checkNewPassword(password, { username, email });
  if (mail.isEnabled) await limits.count(c, "mail", mailboxOf(emailKeyOf(email)));
  const passwordHash = await hashPassword(password, { address: addressOf(c), isKnown: false });
  const link = mail.isEnabled ? mail.newLink() : null;
  const newUser = { username, email, passwordHash };
  const { changed, ...registered } = await registerUser(db, newUser, link, clientOf(context, c), sessionLimits);
  await memory.changed(changed);
  return registered;
}

/**
 * Opens a session for whoever knows the password. The guard has counted the request for the client's address. Throws 401 for
 * wrong credentials, and 429 and 503 as the limits do.
 */
export async function signInByRequest(
  c: Context,
  db: Database,
  context: IdentityContext,
  { email, password }: Credentials,
): Promise<{ user: UserRow; session: OpenedSession }> {
  const { addressOf, limits, revocations, sessionLimits } = context;
  const emailKey = emailKeyOf(email);
  const address = addressOf(c);
  const network = address === null ? null : networkKeyOf(address);
  const found = await findForLogin(db, emailKey, network);
  const isKnown = found?.isKnown === true;
  const whom = loginAttempts(emailKey, isKnown ? network : null);
  const attempt = await provePassword(limits, "login", whom, password, found?.passwordHash, { address, isKnown });
  if (attempt === undefined || found === undefined) throw wrongCredentials();
  // What others tried from unknown networks still counts: starting again would reveal that the owner signed in.
  await (isKnown ? attempt.forgetAll() : attempt.forget());
  const { user, passwordHash } = found;
  const signedInto = await signIn(db, { id: user.id, passwordHash }, clientOf(context, c), sessionLimits);
  if (signedInto === undefined) throw wrongCredentials();
  revocations.add(signedInto.revoked);
  return { user, session: signedInto.session };
}

const wrongCredentials = () => new ApiError("unauthorized", { credentials: ["invalid"] });

/** Changes the current user. Throws 401, 409, 422, and 429 and 503 as the limits do. */
export async function updateByRequest(
  c: Context,
  db: Database,
  context: IdentityContext,
  session: CurrentSession,
  { currentPassword, ...changes }: UserChanges,
): Promise<UserRow> {
  const { addressOf, checkNewPassword, limits, mail, memory, revocations } = context;
  let provenHash: string | null = null;
  if (changes.username !== undefined || changes.password !== undefined || changes.email !== undefined) {
    const before = await findUser(db, session.userId);
    // Clients send the name even if it stays the same.
    if (sameKey(changes.username ?? before.username) !== sameKey(before.username)) {
      context.writeLimits.count(c, "renames", session.userId);
    }
    if (changes.password !== undefined) {
      checkNewPassword(changes.password, before);
      const { username = before.username, email = before.email } = changes;
      checkNewPassword(changes.password, { username, email });
    }
    // Clients send the address even if it stays the same, which does not count as a change.
    const emailKey = emailKeyOf(changes.email ?? before.email);
    const isMoving = emailKey !== emailKeyOf(before.email);
    if (changes.password !== undefined || isMoving) {
      await limits.count(c, "change", session.userId);
      if (mail.isEnabled && isMoving) await limits.count(c, "mail", mailboxOf(emailKey));
      if (context.requireCurrentPassword) {
        provenHash = await proveCurrent(db, context, addressOf(c), session, currentPassword);
      }
    }
  }
  const { user, revoked, changed } = await updateUser(db, session, changes, {
    provenHash,
    passwordHash:
      changes.password === undefined
        ? null
        : await hashPassword(changes.password, { address: addressOf(c), isKnown: true }),
    link: mail.isEnabled ? mail.newLink() : null,
    undoLink: mail.isEnabled ? mail.newLink() : null,
    requireConfirmation: context.requireEmailConfirmation,
  });
  revocations.add(revoked);
  await memory.changed(changed);
  return user;
}

/** The hash that the current password matches. Throws 422 if the password is missing or wrong, and as `provePassword`. */
async function proveCurrent(
  db: Database,
  { limits }: IdentityContext,
  address: string | null,
  { userId, sessionId }: CurrentSession,
  password: string | undefined,
): Promise<string> {
  if (password === undefined || password === "") throw invalid({ currentPassword: ["can't be blank"] });
  const hash = await findPasswordHash(db, userId);
  const attempt = await provePassword(limits, "password", sessionId, password, hash, { address, isKnown: true });
  if (attempt === undefined) throw wrongCurrentPassword();
  await attempt.forgetAll();
  return hash;
}

/**
 * Compares a password. Returns the attempt, for the caller to forget, if it is right; undefined if it is wrong. Throws 429
 * after too many wrong ones, and 503 if too many wait, which does not count as a wrong one.
 */
async function provePassword(
  limits: RateLimits,
  action: "login" | "password",
  whom: string,
  password: string,
  hash: string | undefined,
  caller: HashCaller,
): Promise<Attempt | undefined> {
  checkHashingRoom(caller);
  const attempt = await limits.countAttempt(action, whom);
  const isRight = await verifyPassword(password, hash, caller).catch(async (error) => {
    await attempt.forget();
    throw error;
  });
  if (isRight) return attempt;
  await attempt.extend();
  return undefined;
}
