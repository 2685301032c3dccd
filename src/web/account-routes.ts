import { type Context, Hono } from "hono";
import type { Database } from "../db/pool.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import { checkLink } from "../features/identity/email-links.ts";
import { verifyEmail } from "../features/identity/email-verification/queries.ts";
import { VerifyBody } from "../features/identity/email-verification/schema.ts";
import { resetByLink } from "../features/identity/password-reset/routes.ts";
import { ResetBody } from "../features/identity/password-reset/schema.ts";
import { ApiError } from "../http/errors.ts";
import { describeRoute } from "../http/openapi.ts";
import { readForm } from "../http/validation.ts";
import { donePage, faultPage, resetPage, verifyPage } from "./account-pages.ts";

/** Where the links of mails lead, unless one's own front end has taken over (`VERIFY_URL`, `RESET_URL`). */
export function accountPageRoutes(db: Database, { revocations, limits }: IdentityContext) {
  return new Hono()
    .get(
      "/verify-email",
      (c) =>
        answer(c, async () => {
          const { token } = fields(VerifyBody, c.req.query());
          await limits.count(c, "verify");
          await checkLink(db, token, "verify");
          return verifyPage(c, token);
        }),
      describePage("VerifyEmailPage", "A page to confirm an address"),
    )

    .post(
      "/verify-email",
      (c) =>
        answer(c, async () => {
          const { token } = fields(VerifyBody, await readForm(c.req.raw));
          await limits.count(c, "verify");
          await verifyEmail(db, token);
          return donePage(c, "Thank you", "Your address is confirmed. You can close this page.");
        }),
      describePage("VerifyEmailByForm", "What the page's button does"),
    )

    .get(
      "/reset-password",
      (c) =>
        answer(c, async () => {
          const { token } = fields(VerifyBody, c.req.query());
          await limits.count(c, "reset");
          await checkLink(db, token, "reset");
          return resetPage(c, token);
        }),
      describePage("ResetPasswordPage", "A page to choose a new password"),
    )

    .post(
      "/reset-password",
      (c) =>
        answer(c, async () => {
          const form = await readForm(c.req.raw);
          const { token } = fields(VerifyBody, form);
          const checked = ResetBody.safeParse(form);
          if (!checked.success) return resetPage(c, token, checked.error.issues[0]?.message ?? "is missing");
          await limits.count(c, "reset");
          revocations.add(await resetByLink(db, token, checked.data.new_password));
          return donePage(c, "Password changed", "Sign in with the new one. You were signed out everywhere.");
        }),
      describePage("ResetPasswordByForm", "What the page's form does"),
    );
}

async function answer(c: Context, make: () => Promise<Response>): Promise<Response> {
  try {
    return await make();
  } catch (error) {
    return faultPage(c, error);
  }
}

function fields(schema: typeof VerifyBody, sent: unknown): { token: string } {
  const result = schema.safeParse(sent);
  if (!result.success) throw new ApiError("invalid", { token: ["can't be blank"] });
  return result.data;
}

const describePage = (operationId: string, summary: string) =>
  describeRoute({
    operationId,
    tag: "Pages",
    summary,
    answers: Object.fromEntries([200, 404, 409, 410, 422, 429, 503].map((status) => [status, "text/html"])),
  });
