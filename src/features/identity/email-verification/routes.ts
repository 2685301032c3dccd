import { type Context, Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { PRIVATE_HEADERS } from "../../../http/headers.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf, query } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import { requireMail } from "../email-links.ts";
import type { Guards } from "../guards.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { resendVerification, verifyEmail } from "./queries.ts";
import { VerifyBody, VerifyQuery } from "./schema.ts";

/**
 * Verifying an address, for programs. The pages for people are in web/.
 * @param verifyPage a page with a button that verifies
 */
export function emailVerificationRoutes(
  db: Database,
  { mail, limits }: IdentityContext,
  { requireUser }: Guards,
  verifyPage: (c: Context, token: string) => Response | Promise<Response>,
) {
  return new Hono()
    .get(
      "/auth/verify-email",
      query(VerifyQuery),
      limits.limit("verify"),
      async (c) => {
        const { token } = c.var.query;
        // Mail scanners open every link as a browser would; only a person presses the button of a page. And HEAD must not
        // change anything (RFC 9110, 9.2.1).
        const isBrowser = (c.req.header("Accept") ?? "").includes("text/html");
        if (isBrowser || c.req.method === "HEAD") return verifyPage(c, token);
        await verifyEmail(db, token);
        return c.json(VERIFIED, 200, PRIVATE_HEADERS);
      },
      describeRoute({
        operationId: "VerifyEmailByLink",
        tag: "Accounts",
        summary: "Verify an email address by link",
        description:
          "Takes the token from the query. Browsers (`Accept: text/html`) receive a page with a button instead, so that programs that open every link in an email do not verify the address.",
        answers: { 200: MessageResponse },
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
        tag: "Accounts",
        summary: "Verify an email address",
        description: "Takes the token from the link in the email. A token works once.",
        answers: { 200: MessageResponse },
        errors: ["not_found", "gone", "conflict"],
      }),
    )

    .post(
      "/auth/resend-verification",
      requireUser,
      limits.limit<{ userId: string }>("resend", (c) => c.var.userId),
      async (c) => {
        requireMail(mail);
        await resendVerification(db, c.var.userId, mail.newLink());
        return jsonOf(c, { message: "A new link is on its way" });
      },
      describeRoute({
        operationId: "ResendVerification",
        tag: "Accounts",
        summary: "Resend the verification email",
        description:
          "Sends a new link to the current user and ends earlier links. Returns 409 if the address is already verified.",
        answers: { 200: MessageResponse },
        errors: ["conflict"],
      }),
    );
}

const VERIFIED = { message: "Email verified successfully" };
