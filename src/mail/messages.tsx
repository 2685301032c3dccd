import type { QueuedMail } from "./queue.ts";
import type { Message } from "./transport.ts";

/** The pages that links in emails open; the token is added as the parameter `token`. */
export type LinkUrls = {
  readonly verify: string;
  readonly reset: string;
  readonly undo: string;
  readonly forgot: string;
  readonly home: string;
};

type Content = { subject: string; title: string; paragraphs: string[]; button?: { label: string; url: string } };

/**
 * The message of a mail. Throws if its kind needs a link and there is no token.
 * @param domain of the Message-ID
 */
export function messageOf(mail: QueuedMail, token: string | null, urls: LinkUrls, domain: string): Message {
  const content = contentOf(mail, token, urls);
  return {
    messageId: `<${mail.messageId}@${domain}>`,
    to: mail.to,
    subject: oneLine(content.subject),
    text: textOf(content, urls.home),
    html: htmlOf(content, urls.home),
  };
}

function contentOf(mail: QueuedMail, token: string | null, urls: LinkUrls): Content {
  const title = mail.username === null ? "Hello" : `Hello ${oneLine(mail.username)}`;
  const link = (url: string) => {
    if (token === null) throw new Error(`an email of kind ${mail.kind} has no link`);
    return withToken(url, token);
  };
  const ifNotYou = `If this wasn't you, choose a new password: ${urls.forgot}`;
  switch (mail.kind) {
    case "verify_email":
      return {
        subject: "Verify your email address",
        title,
        paragraphs: [
          "Please verify that this is your email address. The link works once, within 24 hours.",
          "If you did not enter this address at Conduit, you can ignore this email.",
        ],
        button: { label: "Verify email address", url: link(urls.verify) },
      };
    case "reset_password":
      return {
        subject: "Choose a new password",
        title,
        paragraphs: [
          "Someone, hopefully you, requested a new password for your account. The link works once, within one hour.",
          "If this wasn't you, you can ignore this email. Your password stays the same.",
        ],
        button: { label: "Choose a new password", url: link(urls.reset) },
      };
    case "password_changed":
      return {
        subject: "Your password was changed",
        title,
        paragraphs: ["The password of your account was changed, and your other devices were signed out.", ifNotYou],
      };
    case "email_changed":
      return {
        subject: "Your email address was changed",
        title,
        ...(token === null
          ? { paragraphs: ["The email address of your account is being changed from this address to another one."] }
          : {
              paragraphs: [
                `The email address of your account is being changed from this address to ${oneLine(mail.detail ?? "another one")}.`,
                "If this wasn't you, undo the change: you get your address back and choose a new password, and everyone else is signed out. The link works once, within 7 days.",
              ],
              button: { label: "Undo the change", url: link(urls.undo) },
            }),
      };
    case "session_ended":
      return {
        subject: "A device was signed out",
        title,
        paragraphs: [
          `The same sign-in${mail.detail === null ? "" : ` (${oneLine(mail.detail)})`} was used by two programs, as if it had been copied, so we ended it. Your other devices stay signed in.`,
          `If you don't know why this happened, choose a new password: ${urls.forgot}`,
        ],
      };
  }
}

/**
 * The URL with the parameter `token` set; other parameters stay. In a hash route (`#/verify`, `#!/verify`), where the router
 * of the front end looks for it.
 */
export function withToken(url: string, token: string): string {
  const target = new URL(url);
  if (/^#!?\//.test(target.hash)) {
    const [route = "", query] = target.hash.split(/\?(.*)/s);
    const parameters = new URLSearchParams(query);
    parameters.set("token", token);
    target.hash = `${route}?${parameters}`;
    return target.href;
  }
  target.searchParams.set("token", token);
  return target.href;
}

/** Text without line breaks, so that it cannot start another header (RFC 5322, 2.2). */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
}

function textOf({ title, paragraphs, button }: Content, home: string): string {
  const parts = [`${title},`, ...paragraphs];
  if (button !== undefined) parts.splice(2, 0, `${button.label}:\n${button.url}`);
  return `${parts.join("\n\n")}\n\n-- \nConduit, ${home}\n`;
}

function htmlOf({ title, paragraphs, button }: Content, home: string): string {
  const [first, ...rest] = paragraphs;
  return `<!doctype html>\n${(
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <meta name="color-scheme" content="light dark" />
        <meta name="supported-color-schemes" content="light dark" />
        <title>{title}</title>
        <style>{":root{color-scheme:light dark}"}</style>
      </head>
      <body style={STYLES.body}>
        <div style={STYLES.column}>
          <h1 style={STYLES.title}>{title}</h1>
          <p style={STYLES.paragraph}>{first}</p>
          {button === undefined ? null : (
            <>
              <p style={STYLES.action}>
                <a href={button.url} style={STYLES.button}>
                  {button.label}
                </a>
              </p>
              <p style={STYLES.url}>{button.url}</p>
            </>
          )}
          {rest.map((text) => (
            <p style={STYLES.paragraph}>{text}</p>
          ))}
          <p style={STYLES.footer}>
            Conduit,{" "}
            <a href={home} style={STYLES.footerLink}>
              {home}
            </a>
          </p>
        </div>
      </body>
    </html>
  )}\n`;
}

// Inline, as many mail programs drop the style sheet in the head. Nothing is loaded from anywhere.
const STYLES = {
  body: "margin:0;padding:24px;font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:16px;line-height:1.5",
  column: "max-width:520px;margin:0 auto",
  title: "margin:0 0 16px;font-size:20px",
  paragraph: "margin:0 0 16px",
  action: "margin:24px 0",
  button:
    "display:inline-block;padding:12px 20px;border-radius:24px;background:#14713d;color:#ffffff;text-decoration:none;font-weight:600",
  url: "margin:0 0 16px;font-size:13px;opacity:.75;word-break:break-all",
  footer: "margin:32px 0 0;font-size:13px;opacity:.75",
  footerLink: "color:inherit",
};
