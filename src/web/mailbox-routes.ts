import { createHash, timingSafeEqual } from "node:crypto";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { getCookie, setCookie } from "hono/cookie";
import type { RequestVariables } from "../http/exchange.ts";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import { respond } from "../http/responses.ts";
import type { Mailbox } from "../mail/mailbox.ts";
import { respondWithPage } from "./page.ts";
import { messagePage } from "./pages/account.tsx";
import { mailboxPage, mailPage } from "./pages/mailbox.tsx";

const COOKIE = "conduit_mailbox";

/**
 * The development mailbox: `/dev/mail`. Emails contain links that reset passwords, so it responds only to browsers that
 * have opened the link with the key, which the server prints at startup, and kept it in a cookie. The address of the client
 * proves nothing: behind a proxy on the same machine, every client has the address of this machine. It is no part of the
 * API and not in the OpenAPI document.
 */
export function mailboxRoutes(mailbox: Mailbox, key: string) {
  const isKey = (text: string | undefined): boolean => text !== undefined && timingSafeEqual(sha256(text), sha256(key));

  const requireKey: MiddlewareHandler = async (c, next) => {
    if (isKey(getCookie(c, COOKIE))) return next();
    const page = messagePage(
      "The mailbox needs its key",
      "Open the link that the server prints at startup, after “Development mailbox”. It ends in ?key= and a key.",
    );
    return respondWithPage(c, page, { status: 403 });
  };

  return new Hono<{ Variables: RequestVariables }>()
    .get("/dev/mail", async (c, next) => {
      if (!isKey(c.req.query("key"))) return next();
      // Not sent with requests of other sites, except when a person follows a link. A new address without the key keeps it
      // out of the history.
      const path = `${c.get("basePath") ?? ""}/dev/mail`;
      setCookie(c, COOKIE, key, { httpOnly: true, sameSite: "Lax", path });
      for (const [name, value] of Object.entries(PRIVATE_HEADERS)) c.header(name, value);
      return c.redirect(path, 303);
    })

    .get("/dev/mail", requireKey, async (c) => respondWithPage(c, mailboxPage(await mailbox.list())))

    .get("/dev/mail/:name", requireKey, async (c) => {
      const name = c.req.param("name");
      const message = await mailbox.read(name);
      if (message === undefined) return noSuchEmail(c);
      return respondWithPage(c, mailPage(name, message), { policy: { "frame-src": "'self'" } });
    })

    .get("/dev/mail/:name/html", requireKey, async (c) => {
      const message = await mailbox.read(c.req.param("name"));
      if (message === undefined) return noSuchEmail(c);
      // Its links open in a new tab, as in a mail program.
      return respond(c, message.html.replace("<head>", '<head><base target="_blank">'), 200, {
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

const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest();
