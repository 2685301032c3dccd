import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { ApiError } from "../../../http/errors.ts";
import { PRIVATE_HEADERS } from "../../../http/headers.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf, query } from "../../../http/validation.ts";
import type { Guards } from "../guards.ts";
import { hashPassword } from "../passwords.ts";
import type { SessionContext } from "../sessions/routes.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { emailKeyOf } from "../users/queries.ts";
import { askForReset, checkLink, resendVerification, resetPassword, verifyEmail } from "./queries.ts";
import { ForgotBody, ResetBody, VerifyBody, VerifyQuery } from "./schema.ts";

/** Email verification and password reset for programs. The pages for people are in src/web/account-routes.ts. */
export function accountRoutes(db: Database, { revocations, outbox, limits }: SessionContext, { requireUser }: Guards) {
  return new Hono()
    .get(
      "/auth/verify-email",
      query(VerifyQuery),
      limits.limit("verify"),
      async (c) => {
        const { token } = c.var.query;
        await verifyEmail(db, token);
        return c.json(VERIFIED, 200, PRIVATE_HEADERS);
      },
      describeRoute({
        operationId: "VerifyEmailByLink",
        tag: TAG,
        summary: "Verify an email address by link",
        description:
          "Takes the token from the query. Browsers (`Accept: text/html`) receive a page with a button instead, so that programs that open every link in an email do not verify the address.",
        responses: { 200: MessageResponse },
        errors: ["not_found", "gone", "conflict"],
      }),
    )

    .post(
      "/auth/verify-email",
      body(VerifyBody),
      limits.limit("verify"),
      async (c) => {
        await verifyEmail(db, c.var.body.token);
        return jsonOf(c, VERIFIED);
      },
      describeRoute({
        operationId: "VerifyEmail",
        tag: TAG,
        summary: "Verify an email address",
        description: "Takes the token from the link in the email. A token works once.",
        responses: { 200: MessageResponse },
        errors: ["not_found", "gone", "conflict"],
      }),
    )

    .post(
      "/auth/resend-verification",
      requireUser,
      limits.limit<{ userId: string }>("resend", (c) => c.var.userId),
      async (c) => {
        if (!outbox.isOpen) throw noMail();
        await resendVerification(db, c.var.userId, outbox.newLink());
        outbox.wake();
        return jsonOf(c, { message: "A new link is on its way" });
      },
      describeRoute({
        operationId: "ResendVerification",
        tag: TAG,
        summary: "Resend the verification email",
        description:
          "Sends a new link to the current user and revokes earlier links. Returns 409 if the address is already verified.",
        responses: { 200: MessageResponse },
        errors: ["conflict"],
      }),
    )

    .post(
      "/auth/forgot-password",
      body(ForgotBody),
      limits.limit<{ body: { email: string } }>("forgot", (c) => emailKeyOf(c.var.body.email)),
      async (c) => {
        if (!outbox.isOpen) throw noMail();
        await askForReset(db, c.var.body.email);
        outbox.wake();
        return jsonOf(c, { message: "If an account has this address, a link to choose a new password is on its way" });
      },
      describeRoute({
        operationId: "ForgotPassword",
        tag: TAG,
        summary: "Request a password reset",
        description:
          "Emails a link for choosing a new password. The response is the same whether or not an account has this address.",
        responses: { 200: MessageResponse },
      }),
    )

    .post(
      "/auth/reset-password",
      body(ResetBody),
      limits.limit("reset"),
      async (c) => {
        const { token, new_password } = c.var.body;
        revocations.add(await resetByLink(db, token, new_password));
        outbox.wake();
        return jsonOf(c, { message: "The password was changed; sign in with it" });
      },
      describeRoute({
        operationId: "ResetPassword",
        tag: TAG,
        summary: "Reset a password",
        description: "Takes the token from the link in the email. Ends every session of the user.",
        responses: { 200: MessageResponse },
        errors: ["not_found", "gone"],
      }),
    );
}

const TAG = "Accounts";
const VERIFIED = { message: "Email verified successfully" };

/** Two statements where the rule is one: nobody makes us hash with a link that is none. The second decides. */
export async function resetByLink(db: Database, token: string, password: string) {
  await checkLink(db, token, "reset");
  return resetPassword(db, token, await hashPassword(password));
}

const noMail = () =>
  new ApiError(
    "unavailable",
    { mail: ["cannot be sent: this server has no mail server set up"] },
    { "Retry-After": "3600" },
  );
