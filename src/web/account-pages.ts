import type { Context } from "hono";
import { ApiError } from "../http/errors.ts";
import { escapeHtml, page } from "./page.ts";

// The forms carry the token of the mail, and nothing is done for a cookie: there is none, so another site's form could
// send no more than what its maker knows already.

export function verifyPage(c: Context, token: string): Response {
  return page(
    c,
    "Confirm your address",
    `<h1>Confirm your address</h1>
<p>One more step: confirm that this address is yours.</p>
<form method="post" action="/verify-email">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button>Confirm address</button>
</form>`,
  );
}

export function resetPage(c: Context, token: string, fault?: string): Response {
  const described = fault === undefined ? "" : ' aria-invalid="true" aria-describedby="fault"';
  return page(
    c,
    "Choose a new password",
    `<h1>Choose a new password</h1>
${fault === undefined ? "" : `<p class="bad" id="fault" role="alert">The password ${escapeHtml(fault)}.</p>\n`}<form method="post" action="/reset-password">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<label for="new_password">New password</label>
<input id="new_password" name="new_password" type="password" autocomplete="new-password" minlength="8" required autofocus${described}>
<button>Set password</button>
</form>
<p class="quiet">8 characters or more. You will be signed out everywhere.</p>`,
    { status: fault === undefined ? 200 : 422 },
  );
}

export function donePage(c: Context, title: string, text: string): Response {
  return page(c, title, `<h1>${escapeHtml(title)}</h1>\n<p>${escapeHtml(text)}</p>`);
}

/** What a person is told of an error. Throws what is not for people. */
export function faultPage(c: Context, error: unknown): Response {
  if (!(error instanceof ApiError)) throw error;
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
  switch (error.code) {
    case "not_found":
      return told(404, "This link is not right", "It may have lost a part on its way. Copy all of it from the mail.");
    case "gone":
      return told(
        410,
        "This link is over",
        "It was used already, or is too old. Ask for a new mail and use the link in that.",
      );
    case "conflict":
      return told(409, "This address is taken", "Another account has it by now.");
    case "invalid":
      return told(422, "This link is not whole", "Copy all of it from the mail.");
    case "too_many_requests":
      return told(429, "Too often", "Wait a few minutes, and try again.");
    case "unavailable":
      return told(503, "Not now", "The server has too much to do. Try again in a minute.");
    default:
      throw error;
  }
  function told(status: 404 | 409 | 410 | 422 | 429 | 503, title: string, text: string): Response {
    return page(c, title, `<h1>${title}</h1>\n<p>${text}</p>`, { status });
  }
}
