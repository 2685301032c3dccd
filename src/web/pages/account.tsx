import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

// These forms need no protection against cross-site requests: there is no cookie. With the token from an email, another site
// could only submit one that it already knows; without one, anybody may request a mail.

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

/** @param problem what is wrong with the address that was sent, such as "can't be blank" */
export function forgotPasswordPage(problem?: string): Page {
  return (
    <Layout title="Forgot your password?" width="narrow">
      <h1>Forgot your password?</h1>
      <p id="rule">Enter the email address of your account. You get a link to choose a new password.</p>
      {problem === undefined ? null : (
        <p class="error-messages" id="problem" role="alert">
          The email address {problem}.
        </p>
      )}
      <form method="post" action="/forgot-password">
        <label for="email">Email address</label>
        <input
          id="email"
          name="email"
          type="text"
          inputmode="email"
          autocomplete="username"
          required
          autofocus
          aria-invalid={problem === undefined ? undefined : "true"}
          aria-describedby={problem === undefined ? "rule" : "problem rule"}
        />
        <button class="btn btn-primary" type="submit">
          Send the link
        </button>
      </form>
    </Layout>
  );
}

const NEW_PASSWORD = {
  reset: { title: "Choose a new password", action: "/reset-password", button: "Set new password", text: undefined },
  undo: {
    title: "Undo the change of your email address",
    action: "/undo-email-change",
    button: "Restore address and set password",
    text: "Your account gets this email address back. Choose a new password: the old one stops working.",
  },
};

/**
 * The page behind the links to reset a password and to undo a change of the address.
 * @param problem what is wrong with the password that was sent, such as "is too short"
 */
export function newPasswordPage(purpose: keyof typeof NEW_PASSWORD, token: string, problem?: string): Page {
  const { title, action, button, text } = NEW_PASSWORD[purpose];
  return (
    <Layout title={title} width="narrow">
      <h1>{title}</h1>
      {text === undefined ? null : <p>{text}</p>}
      {problem === undefined ? null : (
        <p class="error-messages" id="problem" role="alert">
          The password {problem}.
        </p>
      )}
      <form method="post" action={action}>
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
          {button}
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
