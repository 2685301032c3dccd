import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import { newPasswordByLink } from "../password-reset/routes.ts";
import { MessageResponse } from "../sessions/schema.ts";
import { undoEmailChange } from "./queries.ts";
import { UndoBody } from "./schema.ts";

/** Undoing a change of the email address, for programs. The page for people is in src/web/account-routes.ts. */
export function emailUndoRoutes(db: Database, context: IdentityContext) {
  const { revocations, limits, mail } = context;
  return new Hono().post(
    "/auth/undo-email-change",
    limits.limit("reset"),
    body(UndoBody),
    async (c) => {
      const { token, new_password } = c.var.body;
      const passwordHash = await newPasswordByLink(c, db, context, { token, purpose: "undo", password: new_password });
      revocations.add(await undoEmailChange(db, token, passwordHash, mail.isEnabled));
      return jsonOf(c, { message: "The address was restored and the password changed; sign in with it" });
    },
    describeRoute({
      operationId: "UndoEmailChange",
      tag: "Accounts",
      summary: "Undo a change of the email address",
      description:
        "Takes the token from the link in the email to the old address. Restores that address, sets a new password and ends every session of the user.",
      responses: { 200: MessageResponse },
      errors: ["not_found", "gone", "conflict"],
    }),
  );
}
