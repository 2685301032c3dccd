import { escapeHtml } from "../web/page.ts";
import type { ClaimedMail } from "./queries.ts";
import type { Message } from "./transport.ts";

/** Where the links of mails lead; the token is added as `token`. */
export type LinkUrls = { readonly verify: string; readonly reset: string; readonly home: string };

type Content = { subject: string; title: string; paragraphs: string[]; button?: { label: string; url: string } };

/** @param domain of the Message-ID */
export function messageOf(mail: ClaimedMail, token: string | null, urls: LinkUrls, domain: string): Message {
  const content = contentOf(mail, token, urls);
  return {
    messageId: `<${mail.message_id}@${domain}>`,
    to: mail.to_address,
    subject: oneLine(content.subject),
    text: textOf(content, urls.home),
    html: htmlOf(content, urls.home),
  };
}

function contentOf(mail: ClaimedMail, token: string | null, urls: LinkUrls): Content {
  const name = oneLine(mail.username ?? "you");
  const link = (url: string) => {
    if (token === null) throw new Error(`a mail of kind ${mail.kind} has no link`);
    return withToken(url, token);
  };
  const ifNotYou = `If that was not you, choose a new password: ${urls.home}`;
  switch (mail.kind) {
    case "verify_email":
      return {
        subject: `Confirm your address, ${name}`,
        title: `Hello ${name}`,
        paragraphs: [
          "Please confirm that this is your address. The link is good for 24 hours, once.",
          "If you did not give this address to Conduit, you need do nothing.",
        ],
        button: { label: "Confirm address", url: link(urls.verify) },
      };
    case "reset_password":
      return {
        subject: "Choose a new password",
        title: `Hello ${name}`,
        paragraphs: [
          "Somebody, you we hope, asked for a new password for your account. The link is good for one hour, once.",
          "If it was not you, you need do nothing: your password stays as it is.",
        ],
        button: { label: "Choose a password", url: link(urls.reset) },
      };
    case "password_changed":
      return {
        subject: "Your password was changed",
        title: `Hello ${name}`,
        paragraphs: ["The password of your account was changed, and other devices were signed out.", ifNotYou],
      };
    case "email_changed":
      return {
        subject: "Your address was changed",
        title: `Hello ${name}`,
        paragraphs: [
          `The address of your account is to be ${mail.detail ?? "another one"} from now on, and no longer this one.`,
          ifNotYou,
        ],
      };
    case "session_ended":
      return {
        subject: "We signed a device out",
        title: `Hello ${name}`,
        paragraphs: [
          `Two programs used the same sign-in (${mail.detail ?? "unknown device"}), as if one had copied it from the other. We ended it for both. Your other devices stay signed in.`,
          "If you do not know why, choose a new password.",
        ],
      };
  }
}

/** The address with `token` in its query, whatever else is there. */
export function withToken(url: string, token: string): string {
  const target = new URL(url);
  target.searchParams.set("token", token);
  return target.href;
}

/** A header has one line: nothing that is written into one can begin another (RFC 5322, 2.2). */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
}

function textOf({ title, paragraphs, button }: Content, home: string): string {
  const parts = [`${title},`, ...paragraphs];
  if (button !== undefined) parts.splice(2, 0, `${button.label}:\n${button.url}`);
  return `${parts.join("\n\n")}\n\n-- \nConduit, ${home}\n`;
}

// Styles beside the elements, as many mail programs drop the head's; nothing is loaded from anywhere.
function htmlOf({ title, paragraphs, button }: Content, home: string): string {
  const paragraph = (text: string) => `<p style="margin:0 0 16px">${escapeHtml(text)}</p>`;
  const [first = "", ...rest] = paragraphs;
  const link =
    button === undefined
      ? ""
      : `<p style="margin:24px 0"><a href="${escapeHtml(button.url)}" style="display:inline-block;padding:12px 20px;border-radius:8px;background:#1f7a3d;color:#ffffff;text-decoration:none;font-weight:600">${escapeHtml(button.label)}</a></p>
<p style="margin:0 0 16px;font-size:13px;opacity:.75;word-break:break-all">${escapeHtml(button.url)}</p>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>${escapeHtml(title)}</title>
<style>:root{color-scheme:light dark}</style>
</head>
<body style="margin:0;padding:24px;font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:16px;line-height:1.5">
<div style="max-width:520px;margin:0 auto">
<h1 style="margin:0 0 16px;font-size:20px">${escapeHtml(title)}</h1>
${paragraph(first)}
${link}
${rest.map(paragraph).join("\n")}
<p style="margin:32px 0 0;font-size:13px;opacity:.75">Conduit, <a href="${escapeHtml(home)}" style="color:inherit">${escapeHtml(home)}</a></p>
</div>
</body>
</html>
`;
}
