/** The text of a field of a form; empty if it is missing. Forms send CRLF for a line break (HTML, 4.10.22.4). */
export const textOf = (fields: URLSearchParams, name: string): string =>
  (fields.get(name) ?? "").replaceAll("\r\n", "\n");
