import { type Context, Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { PRIVATE_HEADERS } from "../../../http/headers.ts";
import { describeRoute, ErrorResponse } from "../../../http/openapi.ts";
import { body, jsonOf, query } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import type { CurrentSession } from "../current-session.ts";
import { requireMail } from "../email-links.ts";
import type { Guards } from "../guards.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { mailboxOf } from "../users/emails.ts";
import { findAddressToVerify, resendVerification, verifyEmail } from "./queries.ts";
import { VerifyBody, VerifyQuery } from "./schema.ts";

/** Verifying an address, for programs. The pages for people are in src/web/account-routes.ts. */
export function emailVerificationRoutes(db: Database, context: IdentityContext, { requireUser }: Guards) {
  const { limits } = context;
  return new Hono()
    .get(
      "/auth/verify-email",
      query(VerifyQuery),
      limits.limit("verify"),
      async (c) => {
        await verifyEmail(db, c.var.query.token);
        return c.json(VERIFIED, 200, PRIVATE_HEADERS);
      },
      describeRoute({
        operationId: "VerifyEmailByLink",
        tag: "Accounts",
        summary: "Verify an email address by link",
        description:
          "Takes the token from the query. Browsers (`Accept: text/html`) receive a page with a button instead, so that programs that open every link in an email do not verify the address.",
        responses: {
          200: [MessageResponse, "text/html"],
          ...Object.fromEntries([404, 409, 410, 422, 429, 503].map((status) => [status, [ErrorResponse, "text/html"]])),
        },
      }),
    )

    .post(
      "/auth/verify-email",
      limits.limit("verify"),
      body(VerifyBody),
      async (c) => {
        await verifyEmail(db, c.var.body.token);
        return jsonOf(c, VERIFIED);
      },
      describeRoute({
        operationId: "VerifyEmail",
        tag: "Accounts",
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
        await resendByRequest(c, db, context, c.var);
        return jsonOf(c, { message: "A new link is on its way" });
      },
      describeRoute({
        operationId: "ResendVerification",
        tag: "Accounts",
        summary: "Resend the verification email",
        description:
          "Sends a new link to the current user and revokes earlier links. Returns 409 if the address is already verified.",
        responses: { 200: MessageResponse },
        errors: ["conflict"],
      }),
    );
}

/** Sends a new verification link, as the API and the pages do. Throws 401, 409, 429, and 503 without mail. */
export async function resendByRequest(
  c: Context,
  db: Database,
  { mail, limits }: IdentityContext,
  session: CurrentSession,
): Promise<void> {
  requireMail(mail);
  const { emailKey } = await findAddressToVerify(db, session.userId);
  await limits.count(c, "mail", mailboxOf(emailKey));
  await resendVerification(db, session, mail.newLink());
}

const VERIFIED = { message: "Email verified successfully" };
