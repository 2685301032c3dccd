import { Hono } from "hono";
import type { Guards } from "../auth/guards.ts";
import { hashPassword, verifyPassword } from "../auth/passwords.ts";
import type { Database } from "../platform/database.ts";
import { ApiError } from "../platform/errors.ts";
import { body } from "../platform/http.ts";
import { describeRoute } from "../platform/openapi.ts";
import { openSession } from "../sessions/queries.ts";
import { clientOf, type SessionContext, tokenPair } from "../sessions/routes.ts";
import { type Account, findForLogin, findUser, insertUser, updateUser } from "./queries.ts";
import { LoginBody, NewUserBody, SignedInResponse, UpdateUserBody, UserResponse } from "./schema.ts";

export function userRoutes(db: Database, sessions: SessionContext, { requireUser }: Guards) {
  return new Hono()
    .post(
      "/users",
      body(NewUserBody),
      async (c) => {
        const { user } = c.var.body;
        const passwordHash = await hashPassword(user.password);
        const client = clientOf(sessions, c);
        const { account, session } = await insertUser(db, user, passwordHash, client, sessions.sessionLimits);
        return c.json(signedIn(account, tokenPair(sessions, session)), 201);
      },
      describeRoute({
        operationId: "CreateUser",
        tag: "User and Authentication",
        summary: "Register",
        answers: { 201: SignedInResponse },
        errors: ["conflict"],
      }),
    )

    .post(
      "/users/login",
      body(LoginBody),
      async (c) => {
        const { email, password } = c.var.body.user;
        // Two steps where the rule is one statement: the password is checked between them, not in the database.
        const found = await findForLogin(db, email);
        const right = await verifyPassword(password, found?.passwordHash);
        if (!right || found === undefined) throw wrongCredentials();
        const session = await openSession(
          db,
          { id: found.account.id, passwordHash: found.passwordHash },
          clientOf(sessions, c),
          sessions.sessionLimits,
        );
        if (session === undefined) throw wrongCredentials();
        sessions.revocations.add(session.revoked);
        return c.json(signedIn(found.account, tokenPair(sessions, session)));
      },
      describeRoute({
        operationId: "Login",
        tag: "User and Authentication",
        summary: "Log in",
        answers: { 200: SignedInResponse },
        errors: ["unauthorized"],
      }),
    )

    .get(
      "/user",
      requireUser,
      async (c) => {
        return c.json(userResponse(await findUser(db, c.var.userId), c.var.token));
      },
      describeRoute({
        operationId: "GetCurrentUser",
        tag: "User and Authentication",
        summary: "The own account",
        answers: { 200: UserResponse },
      }),
    )

    .put(
      "/user",
      requireUser,
      body(UpdateUserBody),
      async (c) => {
        const { user } = c.var.body;
        const passwordHash = user.password === undefined ? null : await hashPassword(user.password);
        const { account, revoked } = await updateUser(db, c.var.userId, c.var.sessionId, user, passwordHash);
        sessions.revocations.add(revoked);
        return c.json(userResponse(account, c.var.token));
      },
      describeRoute({
        operationId: "UpdateCurrentUser",
        tag: "User and Authentication",
        summary: "Change the own account",
        description: "A new password ends all other sessions.",
        answers: { 200: UserResponse },
        errors: ["conflict"],
      }),
    );
}

const wrongCredentials = () => new ApiError("unauthorized", { credentials: ["invalid"] });

function userResponse({ username, email, bio, image }: Account, token: string) {
  return { user: { email, token, username, bio, image } };
}

/** `user.token` is the access token, for clients that know the RealWorld contract alone. */
function signedIn(account: Account, pair: { access_token: string; refresh_token: string }) {
  return { ...userResponse(account, pair.access_token), ...pair };
}
