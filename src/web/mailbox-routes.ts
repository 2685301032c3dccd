import { type Context, Hono } from "hono";
import type { ClientAddress } from "../http/client-address.ts";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import type { Mailbox } from "../mail/mailbox.ts";
import { escapeHtml, page } from "./page.ts";

/**
 * The development mailbox as pages: `/dev/mail`. For the one at this machine's keyboard alone, as whoever reads it can
 * reset every password: a server that somebody put on a network without NODE_ENV=production must not be an open door.
 * Not in the document of the API, as they are no part of it.
 * @param addressOf the client's address without any proxy's word
 */
export function mailboxRoutes(mailbox: Mailbox, addressOf: ClientAddress) {
  return new Hono()
    .get("/dev/mail", async (c) => {
      if (!isLocal(c, addressOf)) return notHere(c);
      const messages = await mailbox.list();
      const rows = messages.map(
        ({ name, message }) =>
          `<li><a href="/dev/mail/${name}"><strong>${escapeHtml(message.subject)}</strong><span class="quiet">${escapeHtml(message.to)} · ${timeOf(message.arrivedAt)}</span></a></li>`,
      );
      const list = rows.length === 0 ? '<p class="quiet">No mail yet.</p>' : `<ul>${rows.join("\n")}</ul>`;
      return page(
        c,
        "Mail",
        `<h1>Mail</h1>\n<p class="quiet">Without a mail server, what Conduit sends lands here. Set SMTP_URL to send it.</p>\n${list}`,
        { wide: true },
      );
    })

    .get("/dev/mail/:name", async (c) => {
      if (!isLocal(c, addressOf)) return notHere(c);
      const name = c.req.param("name");
      const message = await mailbox.read(name);
      if (message === undefined) return page(c, "Mail", "<h1>There is no such mail</h1>", { status: 404 });
      const text = escapeHtml(message.text).replace(/https?:\/\/[^\s&]+(?:&#38;[^\s&]+)*/g, '<a href="$&">$&</a>');
      return page(
        c,
        message.subject,
        `<p class="quiet"><a href="/dev/mail">All mail</a></p>
<h1>${escapeHtml(message.subject)}</h1>
<p class="quiet">To ${escapeHtml(message.to)} · ${timeOf(message.arrivedAt)}</p>
<iframe src="/dev/mail/${name}/html" title="The message as HTML" sandbox="allow-popups allow-popups-to-escape-sandbox"></iframe>
<pre>${text}</pre>`,
        { wide: true },
      );
    })

    .get("/dev/mail/:name/html", async (c) => {
      if (!isLocal(c, addressOf)) return notHere(c);
      const message = await mailbox.read(c.req.param("name"));
      if (message === undefined) return page(c, "Mail", "<h1>There is no such mail</h1>", { status: 404 });
      return c.body(message.html.replace("<head>", '<head>\n<base target="_blank">'), 200, {
        ...PRIVATE_HEADERS,
        "Content-Type": "text/html; charset=utf-8",
        // As a mail program shows it: its own styles, and nothing from anywhere.
        "Content-Security-Policy":
          "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
      });
    });
}

/**
 * Whether this machine's user asks, and under a local name: a page elsewhere can have a name of its own lead here. And not
 * a page of another origin, in this user's browser: it might read what it is answered (`CORS_ORIGINS`).
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

function notHere(c: Context): Response {
  return page(
    c,
    "Mail",
    "<h1>Not from here</h1>\n<p>The development mailbox can be read on the server's own machine only, at <code>http://localhost</code>: it holds links that reset passwords.</p>",
    { status: 403 },
  );
}

const timeOf = (iso: string): string => escapeHtml(iso.slice(0, 19).replace("T", " "));
