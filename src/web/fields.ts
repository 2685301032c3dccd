import { createHash } from "node:crypto";

/** The text of a field of a form; empty if it is missing. Forms send CRLF for a line break (HTML, 4.10.22.4). */
export const textOf = (fields: URLSearchParams, name: string): string =>
  (fields.get(name) ?? "").replaceAll("\r\n", "\n");

/** The value of a hidden field `formKey`, by which a form that is sent twice creates one thing. */
export const newFormKey = (): string => crypto.randomUUID();

/** The key of a form that was sent; a new one if it has none. */
export function formKeyIn(fields: URLSearchParams): string {
  const key = fields.get("formKey") ?? "";
  return /^[0-9a-f-]{36}$/.test(key) ? key : newFormKey();
}

/**
 * The key and the request for `createOnce`. The content is part of the key: somebody who goes back to the form and sends
 * another text means another one.
 */
export function onceFor(formKey: string, content: unknown): [key: string, request: unknown] {
  const hash = createHash("sha256").update(JSON.stringify(content)).digest("base64url");
  return [`form ${formKey} ${hash}`, content];
}
