import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import { checkLink, requireMail } from "../email-links.ts";
import { hashPassword } from "../passwords.ts";
import type { Revocation } from "../sessions/revocations.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { emailKeyOf } from "../users/rules.ts";
import { requestReset, resetPassword } from "./queries.ts";
import { ForgotBody, ResetBody } from "./schema.ts";

/** Choosing a new password by email, for programs. The pages for people are in src/web/account-routes.ts. */
export function passwordResetRoutes(db: Database, { revocations, mail, limits }: IdentityContext) {
  return new Hono()
    .post(
      "/auth/forgot-password",
      limits.limit("forgot"),
      body(ForgotBody),
      limits.limitUser<{ body: { email: string } }>("forgot", (c) => emailKeyOf(c.var.body.email)),
      async (c) => {
        requireMail(mail);
        await requestReset(db, c.var.body.email);
        return jsonOf(c, { message: "If a user has this address, a link to choose a new password is on its way" });
      },
      describeRoute({
        operationId: "ForgotPassword",
        tag: "Accounts",
        summary: "Request a password reset",
        description:
          "Emails a link for choosing a new password. The response is the same whether or not a user has this address.",
        responses: { 200: MessageResponse },
      }),
    )

    .post(
      "/auth/reset-password",
      limits.limit("reset"),
      body(ResetBody),
      async (c) => {
        const { token, new_password } = c.var.body;
        revocations.add(await resetByLink(db, token, new_password));
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
 * Sets a new password by a link: see `resetPassword`. Checks the link before it hashes, so that an invalid one costs no
 * hash; it is checked again when it is used.
 */
export async function resetByLink(db: Database, token: string, password: string): Promise<Revocation[]> {
  await checkLink(db, token, "reset");
  return resetPassword(db, token, await hashPassword(password));
}
