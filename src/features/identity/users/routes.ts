import { Hono } from "hono";
import type { z } from "zod";
import type { Database } from "../../../db/pool.ts";
import { ApiError } from "../../../http/errors.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import type { Guards } from "../guards.ts";
import { hashPassword, roomToHash, verifyPassword } from "../passwords.ts";
import { clientOf, tokenPair } from "../sessions/routes.ts";
import { findForLogin, findUser, registerUser, signIn, type User, updateUser } from "./queries.ts";
import { emailKeyOf } from "./rules.ts";
import { LoginBody, NewUserBody, SignedInResponse, UpdateUserBody, UserResponse } from "./schema.ts";

export function userRoutes(db: Database, context: IdentityContext, { requireUser }: Guards) {
  const { limits, mail, requireEmailConfirmation, revocations, sessionLimits } = context;
  return new Hono()
    .post(
      "/users",
      limits.limit("register"),
      body(NewUserBody),
      async (c) => {
        const { username, email, password } = c.var.body.user;
        const passwordHash = await hashPassword(password);
        const link = mail.isEnabled ? mail.newLink() : null;
        const newUser = { username, email, passwordHash };
        const { user, session } = await registerUser(db, newUser, link, clientOf(context, c), sessionLimits);
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
      limits.limit("login"),
      body(LoginBody),
      roomToHash,
      limits.limitUser<LoginRequest>("login", (c) => emailKeyOf(c.var.body.user.email)),
      async (c) => {
        const { email, password } = c.var.body.user;
        const found = await findForLogin(db, email);
        const isRight = await verifyPassword(password, found?.passwordHash);
        if (!isRight || found === undefined) throw wrongCredentials();
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
        errors: ["unauthorized"],
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
        const { user: changes } = c.var.body;
        // Clients send the address even if it stays the same, which does not count as a change.
        const isNewEmail = async (email: string) => {
          return emailKeyOf(email) !== emailKeyOf((await findUser(db, c.var.userId)).email);
        };
        if (changes.password !== undefined || (changes.email !== undefined && (await isNewEmail(changes.email)))) {
          await limits.count(c, "change", c.var.userId);
        }
        const { user, revoked } = await updateUser(db, c.var.userId, changes, {
          sessionId: c.var.sessionId,
          passwordHash: changes.password === undefined ? null : await hashPassword(changes.password),
          link: mail.isEnabled ? mail.newLink() : null,
          requireConfirmation: requireEmailConfirmation,
        });
        revocations.add(revoked);
        return jsonOf(c, userResponse(user, c.var.token));
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

function userResponse({ username, email, email_verified, bio, image }: User, token: string) {
  return { user: { email, email_verified, token, username, bio, image } };
}

/** `user.token` is the access token, for clients that know only the RealWorld contract. */
function signedIn(user: User, pair: { access_token: string; refresh_token: string }) {
  return { ...userResponse(user, pair.access_token), ...pair };
}
