import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import type { Guards } from "../guards.ts";
import { tokenPair } from "../sessions/routes.ts";
import { registerByRequest, signInByRequest, updateByRequest } from "./actions.ts";
import { findUser, type UserRow, userOf } from "./queries.ts";
import { LoginBody, NewUserBody, SignedInResponse, UpdateUserBody, UserResponse } from "./schema.ts";

export function userRoutes(db: Database, context: IdentityContext, { requireUser }: Guards) {
  const { limits } = context;
  return new Hono()
    .post(
      "/users",
      limits.limit("register"),
      body(NewUserBody),
      async (c) => {
        const { user, session } = await registerByRequest(c, db, context, c.var.body.user);
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
        const { user, session } = await signInByRequest(c, db, context, c.var.body.user);
        return jsonOf(c, signedIn(user, tokenPair(context, session)));
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
        const user = await updateByRequest(c, db, context, c.var, c.var.body.user);
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
}

const userResponse = (user: UserRow, token: string) => ({ user: userOf({ ...user, token }) });

/** `user.token` is the access token, for clients that know only the RealWorld contract. */
function signedIn(user: UserRow, pair: { access_token: string; refresh_token: string }) {
  return { ...userResponse(user, pair.access_token), ...pair };
}
