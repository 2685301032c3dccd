import { type Context, Hono } from "hono";
import type { Database } from "../db/pool.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import { checkLink } from "../features/identity/email-links.ts";
import { undoEmailChange } from "../features/identity/email-undo/queries.ts";
import { verifyEmail } from "../features/identity/email-verification/queries.ts";
import { VerifyBody, VerifyQuery } from "../features/identity/email-verification/schema.ts";
import { resetPassword } from "../features/identity/password-reset/queries.ts";
import { newPasswordByLink, requestResetFor } from "../features/identity/password-reset/routes.ts";
import { ForgotBody, ResetBody } from "../features/identity/password-reset/schema.ts";
import { ApiError } from "../http/errors.ts";
import { describeRoute, ErrorResponse, type RouteDescription } from "../http/openapi.ts";
import { readForm } from "../http/validation.ts";
import { respondWithPage } from "./page.ts";
import { forgotPasswordPage, messagePage, newPasswordPage, verifyEmailPage } from "./pages/account.tsx";
import { wantsPage } from "./requests.ts";

/**
 * The page to request a password reset, and the pages that links in emails open, unless `VERIFY_URL` and `RESET_URL` name
 * pages of a front end.
 */
export function accountPageRoutes(db: Database, context: IdentityContext) {
  const { revocations, limits, mail } = context;
  const showVerifyEmail = (c: Context) =>
    withErrorPage(c, async () => {
      const token = tokenOf(c.req.query());
      await limits.count(c, "verify");
      await checkLink(db, token, "verify");
      return respondWithPage(c, verifyEmailPage(token));
    });

  const showNewPassword = (purpose: "reset" | "undo") => (c: Context) =>
    withErrorPage(c, async () => {
      const token = tokenOf(c.req.query());
      await limits.count(c, "reset");
      await checkLink(db, token, purpose);
      return respondWithPage(c, newPasswordPage(purpose, token));
    });

  const setNewPassword = (purpose: "reset" | "undo", apply: typeof resetPassword, title: string) => (c: Context) =>
    withErrorPage(c, async () => {
      await limits.count(c, "reset");
      const form = await readForm(c.req.raw);
      const token = tokenOf(form);
      const showProblem = (problem = "is missing") =>
        respondWithPage(c, newPasswordPage(purpose, token, problem), { status: 422 });
      const checked = ResetBody.safeParse(form);
      if (!checked.success) return showProblem(checked.error.issues[0]?.message);
      const link = { token, purpose, password: checked.data.new_password };
      try {
        const passwordHash = await newPasswordByLink(c, db, context, link);
        revocations.add(await apply(db, token, passwordHash, mail.isEnabled));
      } catch (error) {
        const problem = error instanceof ApiError ? error.errors.new_password?.[0] : undefined;
        if (problem === undefined) throw error;
        return showProblem(problem);
      }
      const text = "Sign in with your new password. You have been signed out on all devices.";
      return respondWithPage(c, messagePage(title, text));
    });

  return (
    new Hono()
      .get(
        "/verify-email",
        showVerifyEmail,
        describePage(
          "VerifyEmailPage",
          "Show the email verification page",
          "The page that the link in a verification email opens.",
          { query: VerifyQuery },
        ),
      )

      .post(
        "/verify-email",
        (c) =>
          withErrorPage(c, async () => {
            await limits.count(c, "verify");
            const token = tokenOf(await readForm(c.req.raw));
            await verifyEmail(db, token);
            return respondWithPage(c, messagePage("Email address verified", "Thank you. You can close this page."));
          }),
        describePage(
          "VerifyEmailByForm",
          "Submit the email verification page",
          "Verifies the email address and shows the result.",
          { form: VerifyBody, errors: FORM_ERRORS },
        ),
      )

      // The same link in the API. A program confirms the address with GET. A browser gets the page, as some mail programs
      // open every link of an email to check it. HEAD gets the page too, as it must change nothing (RFC 9110, 9.2.1).
      .get("/api/auth/verify-email", (c, next) =>
        wantsPage(c) || c.req.method === "HEAD" ? showVerifyEmail(c) : next(),
      )

      .get(
        "/forgot-password",
        (c) => respondWithPage(c, forgotPasswordPage()),
        describePage("ForgotPasswordPage", "Show the page to request a password reset", "Has a form with one field."),
      )

      .post(
        "/forgot-password",
        (c) =>
          withErrorPage(c, async () => {
            await limits.count(c, "forgot");
            const checked = ForgotBody.safeParse(await readForm(c.req.raw));
            if (!checked.success) {
              const problem = checked.error.issues[0]?.message ?? "is missing";
              return respondWithPage(c, forgotPasswordPage(problem), { status: 422 });
            }
            await requestResetFor(c, db, context, checked.data.email);
            return respondWithPage(
              c,
              messagePage(
                "Check your email",
                "If a user has this address, a link to choose a new password is on its way.",
              ),
            );
          }),
        describePage(
          "ForgotPasswordByForm",
          "Submit the page to request a password reset",
          "Emails a link for choosing a new password. The page is the same whether or not a user has this address.",
          { form: ForgotBody, errors: FORM_ERRORS },
        ),
      )

      .get(
        "/reset-password",
        showNewPassword("reset"),
        describePage(
          "ResetPasswordPage",
          "Show the password reset page",
          "The page that the link in a password reset email opens.",
          { query: VerifyQuery },
        ),
      )

      .post(
        "/reset-password",
        setNewPassword("reset", resetPassword, "Password changed"),
        describePage(
          "ResetPasswordByForm",
          "Submit the password reset page",
          "Sets the new password and shows the result.",
          { form: ResetBody, errors: FORM_ERRORS },
        ),
      )

      .get(
        "/undo-email-change",
        showNewPassword("undo"),
        describePage(
          "UndoEmailChangePage",
          "Show the page to undo a change of the email address",
          "The page that the link in the email to the old address opens.",
          { query: VerifyQuery },
        ),
      )

      .post(
        "/undo-email-change",
        setNewPassword("undo", undoEmailChange, "Your email address is back"),
        describePage(
          "UndoEmailChangeByForm",
          "Submit the page to undo a change of the email address",
          "Restores the old address, sets the new password and shows the result.",
          { form: ResetBody, errors: FORM_ERRORS },
        ),
      )
  );
}

/** Responds with a page that explains the error. Rethrows errors that a person cannot do anything about. */
async function withErrorPage(c: Context, respond: () => Promise<Response>): Promise<Response> {
  try {
    return await respond();
  } catch (error) {
    const message = error instanceof ApiError ? MESSAGES[error.code] : undefined;
    if (!(error instanceof ApiError) || message === undefined) throw error;
    for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
    return respondWithPage(c, messagePage(message.title, message.text), { status: message.status });
  }
}

const MESSAGES: {
  [Code in ApiError["code"]]?: { status: 404 | 409 | 410 | 422 | 429 | 503; title: string; text: string };
} = {
  not_found: {
    status: 404,
    title: "This link is invalid",
    text: "Part of it may be missing. Copy the whole link from the email.",
  },
  gone: {
    status: 410,
    title: "This link has expired",
    text: "It has already been used, or it is too old. Request a new email and use the link in it.",
  },
  conflict: {
    status: 409,
    title: "This email address is already in use",
    text: "Another user has it.",
  },
  invalid: { status: 422, title: "This link is incomplete", text: "Copy the whole link from the email." },
  too_many_requests: { status: 429, title: "Too many requests", text: "Wait a few minutes, then try again." },
  unavailable: { status: 503, title: "The server is busy", text: "Try again in a minute." },
};

/** The token of a query string or a form. Throws 422 if it is missing or too long. */
function tokenOf(fields: unknown): string {
  const result = VerifyBody.safeParse(fields);
  if (!result.success) throw new ApiError("invalid", { token: ["can't be blank"] });
  return result.data.token;
}

/** What `readForm` throws, which no browser causes. */
const FORM_ERRORS = ["too_large", "unsupported_media_type"] as const;

const describePage = (
  operationId: string,
  summary: string,
  description: string,
  more: Pick<RouteDescription, "query" | "form" | "errors"> = {},
) =>
  describeRoute({
    operationId,
    tag: "Pages",
    summary,
    description,
    responses: {
      ...Object.fromEntries([200, 404, 409, 410, 422, 429].map((status) => [status, "text/html"])),
      503: [ErrorResponse, "text/html"],
    },
    ...more,
  });
