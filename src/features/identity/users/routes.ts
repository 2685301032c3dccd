import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { ApiError, invalid } from "../../../http/errors.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import type { CurrentSession } from "../current-session.ts";
import type { Guards } from "../guards.ts";
import type { HashCaller } from "../hashing-queue.ts";
import { loginAttempts } from "../known-networks.ts";
import { networkKeyOf } from "../networks.ts";
import { checkHashingRoom, hashPassword, verifyPassword } from "../passwords.ts";
import type { Attempt } from "../rate-limits.ts";
import { clientOf, tokenPair } from "../sessions/routes.ts";
import { emailKeyOf, mailboxOf } from "./emails.ts";
import { wrongCurrentPassword } from "./new-passwords.ts";
import {
  findForLogin,
  findPasswordHash,
  findUser,
  registerUser,
  signIn,
  type UserRow,
  updateUser,
  userOf,
} from "./queries.ts";
import { LoginBody, NewUserBody, SignedInResponse, UpdateUserBody, UserResponse } from "./schema.ts";

export function userRoutes(db: Database, context: IdentityContext, { requireUser }: Guards) {
  const { addressOf, checkNewPassword, limits, mail, requireEmailConfirmation, revocations, sessionLimits } = context;
  const { requireCurrentPassword, memory } = context;
  return new Hono()
    .post(
      "/users",
      limits.limit("register"),
      body(NewUserBody),
      async (c) => {
        const { username, email, password } = c.var.body.user;
        checkNewPassword(password, { username, email });
        if (mail.isEnabled) await limits.count(c, "mail", mailboxOf(emailKeyOf(email)));
        const passwordHash = await hashPassword(password, { address: addressOf(c), isKnown: false });
        const link = mail.isEnabled ? mail.newLink() : null;
        const newUser = { username, email, passwordHash };
        const { user, session, changed } = await registerUser(db, newUser, link, clientOf(context, c), sessionLimits);
        await memory.changed(changed);
        return jsonOf(c, signedIn(user, tokenPair(context, session)), 201);
      },
      describeRoute({
        operationId: "CreateUser",
        tag: "User and Authentication",
        summary: "Register a user",
        description:
          "Creates the user and starts a session. Returns 409 if the username or the email address is taken.",
        responses: { 201: SignedInResponse },
        errors: ["conflict"],
      }),
    )

    .post(
      "/users/login",
      // First of all, so that attempts which the queue refuses count against their sender.
      limits.limit("login"),
      body(LoginBody),
      async (c) => {
        const { email, password } = c.var.body.user;
        const emailKey = emailKeyOf(email);
        const address = addressOf(c);
        const network = address === null ? null : networkKeyOf(address);
        const found = await findForLogin(db, emailKey, network);
        const isKnown = found?.isKnown === true;
        const whom = loginAttempts(emailKey, isKnown ? network : null);
        const attempt = await provePassword("login", whom, password, found?.passwordHash, { address, isKnown });
        if (attempt === undefined || found === undefined) throw wrongCredentials();
        // What others tried from unknown networks still counts: starting again would reveal that the owner signed in.
        await (isKnown ? attempt.forgetAll() : attempt.forget());
        const { user, passwordHash } = found;
        const signedInto = await signIn(db, { id: user.id, passwordHash }, clientOf(context, c), sessionLimits);
        if (signedInto === undefined) throw wrongCredentials();
        revocations.add(signedInto.revoked);
        return jsonOf(c, signedIn(user, tokenPair(context, signedInto.session)));
      },
      describeRoute({
        operationId: "Login",
        tag: "User and Authentication",
        summary: "Sign in",
        description: "Starts a session. Returns the same error for an unknown email address and for a wrong password.",
        responses: { 200: SignedInResponse },
        errors: ["unauthorized", "unavailable"],
      }),
    )

    .get(
      "/user",
      requireUser,
      async (c) => {
        return jsonOf(c, userResponse(await findUser(db, c.var.userId), c.var.token));
      },
      describeRoute({
        operationId: "GetCurrentUser",
        tag: "User and Authentication",
        summary: "Get current user",
        description: "The user that the access token belongs to.",
        responses: { 200: UserResponse },
      }),
    )

    .put(
      "/user",
      requireUser,
      body(UpdateUserBody),
      async (c) => {
        const { currentPassword, ...changes } = c.var.body.user;
        let provenHash: string | null = null;
        if (changes.password !== undefined || changes.email !== undefined) {
          const before = await findUser(db, c.var.userId);
          if (changes.password !== undefined) {
            checkNewPassword(changes.password, before);
            const { username = before.username, email = before.email } = changes;
            checkNewPassword(changes.password, { username, email });
          }
          // Clients send the address even if it stays the same, which does not count as a change.
          const emailKey = emailKeyOf(changes.email ?? before.email);
          const isMoving = emailKey !== emailKeyOf(before.email);
          if (changes.password !== undefined || isMoving) {
            await limits.count(c, "change", c.var.userId);
            if (mail.isEnabled && isMoving) await limits.count(c, "mail", mailboxOf(emailKey));
            if (requireCurrentPassword) provenHash = await proveCurrent(addressOf(c), c.var, currentPassword);
          }
        }
        const { user, revoked, changed } = await updateUser(db, c.var, changes, {
          provenHash,
          passwordHash:
            changes.password === undefined
              ? null
              : await hashPassword(changes.password, { address: addressOf(c), isKnown: true }),
          link: mail.isEnabled ? mail.newLink() : null,
          undoLink: mail.isEnabled ? mail.newLink() : null,
          requireConfirmation: requireEmailConfirmation,
        });
        revocations.add(revoked);
        await memory.changed(changed);
        return jsonOf(c, userResponse(user, c.var.token));
      },
      describeRoute({
        operationId: "UpdateCurrentUser",
        tag: "User and Authentication",
        summary: "Update current user",
        description:
          "A new password ends all other sessions. A new email address is unverified: the server sends a verification link to it and a notice to the old address, with a link to undo the change if that was verified.",
        responses: { 200: UserResponse },
        errors: ["conflict", "too_many_requests"],
      }),
    );

  /**
   * Compares a password. Returns the attempt, for the caller to forget, if it is right; undefined if it is wrong. Throws 429
   * after too many wrong ones, and 503 if too many wait, which does not count as a wrong one.
   */
  async function provePassword(
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

  /** The hash that the current password matches. Throws 422 if the password is missing or wrong, and as `provePassword`. */
  async function proveCurrent(
    address: string | null,
    { userId, sessionId }: CurrentSession,
    password: string | undefined,
  ): Promise<string> {
    if (password === undefined || password === "") throw invalid({ currentPassword: ["can't be blank"] });
    const hash = await findPasswordHash(db, userId);
    const attempt = await provePassword("password", sessionId, password, hash, { address, isKnown: true });
    if (attempt === undefined) throw wrongCurrentPassword();
    await attempt.forgetAll();
    return hash;
  }
}

const wrongCredentials = () => new ApiError("unauthorized", { credentials: ["invalid"] });

const userResponse = (user: UserRow, token: string) => ({ user: userOf({ ...user, token }) });

/** `user.token` is the access token, for clients that know only the RealWorld contract. */
function signedIn(user: UserRow, pair: { access_token: string; refresh_token: string }) {
  return { ...userResponse(user, pair.access_token), ...pair };
}
