import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { ClientAddress } from "../http/client-address.ts";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import type { Mailbox } from "../mail/mailbox.ts";
import { respondWithPage } from "./page.ts";
import { messagePage } from "./pages/account.tsx";
import { mailboxPage, mailPage } from "./pages/mailbox.tsx";

/**
 * The development mailbox: `/dev/mail`. Emails contain links that reset passwords, so it responds only to the user of
 * this machine, even if a server without NODE_ENV=production is reachable from a network. It is no part of the API and
 * not in the OpenAPI document.
 * @param addressOf the client's address, without trusting any proxy
 */
export function mailboxRoutes(mailbox: Mailbox, addressOf: ClientAddress) {
  return new Hono()
    .get("/dev/mail", localOnly(addressOf), async (c) => respondWithPage(c, mailboxPage(await mailbox.list())))

    .get("/dev/mail/:name", localOnly(addressOf), async (c) => {
      const name = c.req.param("name");
      const message = await mailbox.read(name);
      if (message === undefined) return noSuchEmail(c);
      return respondWithPage(c, mailPage(name, message), { policy: { "frame-src": "'self'" } });
    })

    .get("/dev/mail/:name/html", localOnly(addressOf), async (c) => {
      const message = await mailbox.read(c.req.param("name"));
      if (message === undefined) return noSuchEmail(c);
      // Its links open in a new tab, as in a mail program.
      return c.body(message.html.replace("<head>", '<head><base target="_blank">'), 200, {
        ...PRIVATE_HEADERS,
        "Content-Type": "text/html; charset=utf-8",
        // As in a mail program: the email's own styles, and nothing loaded from anywhere.
        "Content-Security-Policy":
          "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
      });
    });
}

function noSuchEmail(c: Context): Response {
  const page = messagePage("Email not found", "The mailbox keeps only the newest emails, so it may have been removed.");
  return respondWithPage(c, page, { status: 404 });
}

function localOnly(addressOf: ClientAddress): MiddlewareHandler {
  return async (c, next) => {
    if (isLocal(c, addressOf)) return next();
    const page = messagePage(
      "The mailbox is not available here",
      "It contains links that reset passwords. Open it on the machine that runs the server, at http://localhost.",
    );
    return respondWithPage(c, page, { status: 403 });
  };
}

/**
 * Whether the request comes from this machine, and under a local host name, as any domain can be made to resolve to this
 * machine. Rejects pages of other origins in this user's browser: `CORS_ORIGINS` may allow them to read the response.
 */
function isLocal(c: Context, addressOf: ClientAddress): boolean {
  const isForwarded = ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"].some(
    (name) => c.req.header(name) !== undefined,
  );
  const [host, origin] = [c.req.header("Host") ?? "", c.req.header("Origin")];
  if (origin !== undefined && origin !== `http://${host}`) return false;
  const isLoopback = /^(127\.[0-9.]+|::1)$/.test(addressOf(c) ?? "");
  return isLoopback && !isForwarded && /^(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?$/.test(host);
}
