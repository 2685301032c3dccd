import { Hono } from "hono";
import type { z } from "zod";
import type { Database } from "../../../db/pool.ts";
import { ApiError, unauthorized } from "../../../http/errors.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, json, jsonOf } from "../../../http/validation.ts";
import type { Guards } from "../guards.ts";
import { hashPassword, roomToHash, verifyPassword } from "../passwords.ts";
import { openSession } from "../sessions/queries.ts";
import { clientOf, type SessionContext, tokenPair } from "../sessions/routes.ts";
import { type Account, emailKeyOf, findForLogin, findUser, insertUser, updateUser } from "./queries.ts";
import { LoginBody, NewUserBody, SignedInResponse, UpdateUserBody, UserResponse } from "./schema.ts";

/** What belongs to an account besides its row. */
export type UserContext = {
  readonly sessions: SessionContext;
  /** `REQUIRE_EMAIL_CONFIRMATION` */
  readonly confirmFirst: boolean;
};

export function userRoutes(db: Database, { sessions, confirmFirst }: UserContext, { requireUser }: Guards) {
  const { outbox, limits } = sessions;
  return new Hono()
    .post(
      "/users",
      body(NewUserBody),
      limits.limit("register"),
      async (c) => {
        const { user } = c.var.body;
        const passwordHash = await hashPassword(user.password);
        const link = outbox.isOpen ? outbox.newLink() : null;
        const client = clientOf(sessions, c);
        const { account, session } = await insertUser(db, user, passwordHash, link, client, sessions.sessionLimits);
        outbox.wake();
        return jsonOf(c, signedIn(account, tokenPair(sessions, session)), 201);
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
      body(LoginBody),
      roomToHash,
      limits.limit<LoginRequest>("login", (c) => emailKeyOf(c.var.body.user.email)),
      async (c) => {
        const { email, password } = c.var.body.user;
        // Two steps where the rule is one statement: the password is checked between them, not in the database.
        const found = await findForLogin(db, email);
        const right = await verifyPassword(password, found?.passwordHash);
        if (!right || found === undefined) throw wrongCredentials();
        const session = await openSession(
          db,
          { id: found.account.id, passwordHash: found.passwordHash, emailKey: emailKeyOf(email) },
          clientOf(sessions, c),
          sessions.sessionLimits,
        );
        if (session === undefined) throw wrongCredentials();
        sessions.revocations.add(session.revoked);
        return jsonOf(c, signedIn(found.account, tokenPair(sessions, session)));
      },
      describeRoute({
        operationId: "Login",
        tag: "User and Authentication",
        summary: "Log in",
        description: "Starts a session. Returns the same error for an unknown email address and for a wrong password.",
        responses: { 200: SignedInResponse },
        errors: ["unauthorized"],
      }),
    )

    .get(
      "/user",
      requireUser,
      async (c) => {
        return json(c, JSON.stringify(userResponse(await findUser(db, c.var.userId), c.var.token)));
      },
      describeRoute({
        operationId: "GetCurrentUser",
        tag: "User and Authentication",
        summary: "Get current user",
        description: "The user that the access token belongs to.",
        responses: { 200: UserResponse, 304: null },
      }),
    )

    .put(
      "/user",
      requireUser,
      body(UpdateUserBody),
      async (c) => {
        const { user } = c.var.body;
        // A statement more where the rule is one: clients send the address also where it stays, and that is not counted.
        const isNewEmail = async (email: string) => {
          return emailKeyOf(email) !== emailKeyOf((await findUser(db, c.var.userId)).email);
        };
        if (user.password !== undefined || (user.email !== undefined && (await isNewEmail(user.email)))) {
          await limits.count(c, "change", c.var.userId);
        }
        const passwordHash = user.password === undefined ? null : await hashPassword(user.password);
        // While the hashing waited for its turn, a reset may have ended this session: then it is too late to undo that.
        if (sessions.revocations.has(c.var.sessionId)) throw unauthorized("has been revoked");
        const { account, revoked } = await updateUser(db, c.var.userId, user, {
          sessionId: c.var.sessionId,
          passwordHash,
          link: outbox.isOpen ? outbox.newLink() : null,
          confirmFirst,
        });
        sessions.revocations.add(revoked);
        outbox.wake();
        return jsonOf(c, userResponse(account, c.var.token));
      },
      describeRoute({
        operationId: "UpdateCurrentUser",
        tag: "User and Authentication",
        summary: "Update current user",
        description:
          "A new password ends all other sessions. A new email address is unverified: the server sends a verification link to it and a notice to the old address.",
        responses: { 200: UserResponse },
        errors: ["conflict", "too_many_requests"],
      }),
    );
}

type LoginRequest = { body: z.output<typeof LoginBody> };

const wrongCredentials = () => new ApiError("unauthorized", { credentials: ["invalid"] });

function userResponse({ username, email, email_verified, bio, image }: Account, token: string) {
  return { user: { email, email_verified, token, username, bio, image } };
}

/** `user.token` is the access token, for clients that know the RealWorld contract alone. */
function signedIn(account: Account, pair: { access_token: string; refresh_token: string }) {
  return { ...userResponse(account, pair.access_token), ...pair };
}
