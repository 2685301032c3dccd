import XMLBuilder from "fast-xml-builder";

/** An element: its text, its members by name, with `@` before attributes and `#text` beside them, or several of a name. */
export type Xml = string | { readonly [name: string]: Xml } | readonly Xml[];

const builder = new XMLBuilder({
  attributeNamePrefix: "@",
  ignoreAttributes: false,
  suppressBooleanAttributes: false,
  suppressEmptyNode: true,
});

/** A document with this root element. It leaves out characters that XML cannot contain, escaped or not (XML 1.0, 2.2). */
export const writeXml = (root: { readonly [name: string]: Xml }): string =>
  builder.build({ "?xml": { "@version": "1.0", "@encoding": "utf-8" }, ...root }).replace(NOT_XML, "");

const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
