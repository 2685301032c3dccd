import { Hono } from "hono";
import type { Guards } from "../auth/guards.ts";
import { hashPassword, verifyPassword } from "../auth/passwords.ts";
import type { Tokens } from "../auth/tokens.ts";
import type { Database } from "../platform/database.ts";
import { ApiError } from "../platform/errors.ts";
import { body } from "../platform/http.ts";
import { describeRoute } from "../platform/openapi.ts";
import { type Account, findForLogin, findUser, insertUser, updateUser } from "./queries.ts";
import { LoginBody, NewUserBody, UpdateUserBody, UserResponse } from "./schema.ts";

export function userRoutes(db: Database, tokens: Tokens, { requireUser }: Guards) {
  return new Hono()
    .post(
      "/users",
      body(NewUserBody),
      async (c) => {
        const { user } = c.var.body;
        const account = await insertUser(db, user, await hashPassword(user.password));
        return c.json(userResponse(account, tokens.issue(account.id)), 201);
      },
      describeRoute({
        operationId: "CreateUser",
        tag: "User and Authentication",
        summary: "Register",
        answers: { 201: UserResponse },
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
        if (!(await verifyPassword(password, found?.passwordHash)) || found === undefined) {
          throw new ApiError("unauthorized", { credentials: ["invalid"] });
        }
        return c.json(userResponse(found.account, tokens.issue(found.account.id)));
      },
      describeRoute({
        operationId: "Login",
        tag: "User and Authentication",
        summary: "Log in",
        answers: { 200: UserResponse },
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
        return c.json(userResponse(await updateUser(db, c.var.userId, user, passwordHash), c.var.token));
      },
      describeRoute({
        operationId: "UpdateCurrentUser",
        tag: "User and Authentication",
        summary: "Change the own account",
        answers: { 200: UserResponse },
        errors: ["conflict"],
      }),
    );
}

function userResponse({ username, email, bio, image }: Account, token: string) {
  return { user: { email, token, username, bio, image } };
}
