import { domainToASCII } from "node:url";
import { withoutInvisible } from "../../../http/characters.ts";

/**
 * RFC 5321, 4.1.2, with letters beyond ASCII (RFC 6531, 3.3): words joined by dots, then @ and labels joined by dots. Quoted
 * names and bracketed numbers are not accepted.
 */
const ADDRESS =
  /^(?!.*[\p{Cc}\p{Z}])(?=[^@]{1,64}@)[^.@"(),:;<>[\\\]]+(?:\.[^.@"(),:;<>[\\\]]+)*@(?!-)[-0-9A-Za-z\u{80}-\u{10ffff}]+(?<!-)(?:\.(?!-)[-0-9A-Za-z\u{80}-\u{10ffff}]+(?<!-))*$/su;

/** Whether this is an address that mail could reach: with visible characters only, and a domain that DNS could have. */
export const isAddress = (email: string): boolean =>
  ADDRESS.test(email) && withoutInvisible(email) === email && keyOfAddress(email) !== undefined;

/**
 * The key by which addresses are compared: equal for the addresses of one mailbox, and different for different mailboxes.
 * Domains are equal if their A-labels are (RFC 5890, 2.3.2.1; UTS 46, non-transitional: `straße.de` is not `strasse.de`).
 * Local parts are equal in any ASCII case and in any canonical form of Unicode (RFC 6532, 3.1: NFC). Only the server of the
 * domain knows more about them (RFC 5321, 2.4), so "ß" and "ss" differ.
 *
 * @param typed as a user typed it, with spaces around or invisible characters in it. Any text has a key; one that is no
 * address has that of no user. At most 254 characters: normalising takes time with the square of the length.
 */
export function emailKeyOf(typed: string): string {
  const email = withoutInvisible(typed).trim();
  return (ADDRESS.test(email) ? keyOfAddress(email) : undefined) ?? `not an address: ${email}`;
}

function keyOfAddress(email: string): string | undefined {
  const at = email.lastIndexOf("@");
  const domain = email.slice(at + 1);
  // A last label of digits would be read as a part of an IPv4 address (WHATWG URL, 3.5). No top-level domain has one.
  if (/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/i.test(domain.normalize("NFKC"))) return undefined;
  const ascii = domainToASCII(domain);
  if (ascii === "") return undefined;
  return `${localKeyOf(email.slice(0, at))}@${ascii}`;
}

const localKeyOf = (local: string): string =>
  local.normalize("NFC").replace(/[A-Z]/g, (letter) => letter.toLowerCase());

/** The mailbox behind an address, by its key: mail servers deliver `ann+news@…` to `ann@…`. */
export const mailboxOf = (emailKey: string): string => emailKey.replace(/\+[^@]*(?=@)/, "");
