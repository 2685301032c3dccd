import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

// These forms need no protection against cross-site requests: they carry the token from the email and no cookie, so
// another site could only submit a token that it already knows.

/** The page behind the link of a verification email. Its button verifies the address. */
export function verifyEmailPage(token: string): Page {
  return (
    <Layout title="Verify your email address" width="narrow">
      <h1>Verify your email address</h1>
      <p>Select the button to verify that this email address is yours.</p>
      <form method="post" action="/verify-email">
        <input type="hidden" name="token" value={token} />
        <button class="btn btn-primary" type="submit">
          Verify email address
        </button>
      </form>
    </Layout>
  );
}

/** @param problem what is wrong with the password that was sent, such as "is too short" */
export function resetPasswordPage(token: string, problem?: string): Page {
  return (
    <Layout title="Choose a new password" width="narrow">
      <h1>Choose a new password</h1>
      {problem === undefined ? null : (
        <p class="error-messages" id="problem" role="alert">
          The password {problem}.
        </p>
      )}
      <form method="post" action="/reset-password">
        <input type="hidden" name="token" value={token} />
        <label for="new_password">New password</label>
        <input
          id="new_password"
          name="new_password"
          type="password"
          autocomplete="new-password"
          minlength={8}
          required
          autofocus
          aria-invalid={problem === undefined ? undefined : "true"}
          aria-describedby={problem === undefined ? "rule" : "problem rule"}
        />
        <button class="btn btn-primary" type="submit">
          Set new password
        </button>
      </form>
      <p class="muted" id="rule">
        Use at least 8 characters. You will be signed out on all devices.
      </p>
    </Layout>
  );
}

/** A page with a heading and one paragraph: the outcome of a form, or an error. */
export function messagePage(title: string, text: string): Page {
  return (
    <Layout title={title} width="narrow">
      <h1>{title}</h1>
      <p>{text}</p>
    </Layout>
  );
}
