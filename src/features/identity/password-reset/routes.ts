import { type Context, Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import { checkLink, type LinkPurpose, requireMail } from "../email-links.ts";
import { hashPassword } from "../passwords.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { emailKeyOf, mailboxOf } from "../users/emails.ts";
import { requestReset, resetPassword } from "./queries.ts";
import { ForgotBody, ResetBody } from "./schema.ts";

/** Choosing a new password by email, for programs. The pages for people are in src/web/account-routes.ts. */
export function passwordResetRoutes(db: Database, context: IdentityContext) {
  const { revocations, limits, mail } = context;
  return new Hono()
    .post(
      "/auth/forgot-password",
      limits.limit("forgot"),
      body(ForgotBody),
      async (c) => {
        await requestResetFor(c, db, context, c.var.body.email);
        return jsonOf(c, { message: "If a user has this address, a link to choose a new password is on its way" });
      },
      describeRoute({
        operationId: "ForgotPassword",
        tag: "Accounts",
        summary: "Request a password reset",
        description:
          "Emails a link for choosing a new password. The response is the same whether or not a user has this address.",
        responses: { 200: MessageResponse },
        errors: ["too_many_requests"],
      }),
    )

    .post(
      "/auth/reset-password",
      limits.limit("reset"),
      body(ResetBody),
      async (c) => {
        const { token, new_password } = c.var.body;
        const passwordHash = await newPasswordByLink(c, db, context, {
          token,
          purpose: "reset",
          password: new_password,
        });
        revocations.add(await resetPassword(db, token, passwordHash, mail.isEnabled));
        return jsonOf(c, { message: "The password was changed; sign in with it" });
      },
      describeRoute({
        operationId: "ResetPassword",
        tag: "Accounts",
        summary: "Reset a password",
        description: "Takes the token from the link in the email. Ends every session of the user.",
        responses: { 200: MessageResponse },
        errors: ["not_found", "gone"],
      }),
    );
}

/**
 * Counts and enqueues a request for a reset, which the guard has counted for the client's address. Takes the same time for
 * every email. Throws 429, and 503 without mail.
 */
export async function requestResetFor(
  c: Context,
  db: Database,
  { mail, limits }: IdentityContext,
  email: string,
): Promise<void> {
  const emailKey = emailKeyOf(email);
  await limits.countUser(c, "forgot", emailKey);
  requireMail(mail);
  const mailbox = mailboxOf(emailKey);
  // An address without a suffix has the limit above. With that of its mailbox too, anybody could keep its owner from a reset,
  // with requests for made-up suffixes, and the owner would not even get a link.
  await limits.count(c, "mail", mailbox === emailKey ? undefined : mailbox);
  await requestReset(db, email);
}

/**
 * The hash of a password that somebody chooses by a link. Checks the link before it hashes, so that an invalid one costs no
 * hash; it is checked again when it is used. Throws 404, 410 for the link, 422 for the password, 503 if too many wait.
 */
export async function newPasswordByLink(
  c: Context,
  db: Database,
  { addressOf, checkNewPassword }: IdentityContext,
  { token, purpose, password }: { token: string; purpose: LinkPurpose; password: string },
): Promise<string> {
  checkNewPassword(password, await checkLink(db, token, purpose), "new_password");
  return hashPassword(password, { address: addressOf(c), isKnown: true });
}
