import { etagOf } from "../../http/validation.ts";
import type { Flag, Reader } from "./readers.ts";

/**
 * The JSON of a response that is the same for every reader, except for the flags `favorited` and `following`. Here they are
 * false, as for anonymous readers.
 */
export type Body = {
  readonly text: string;
  readonly etag: string;
  /** Of a single article: the number of its version. */
  readonly articleVersion: number | undefined;
  /** In the order of the text: where the value of a flag is, and which article or user it is about. */
  readonly flags: readonly { readonly at: number; readonly flag: Flag; readonly id: string }[];
  /** Of the next page of a list; null if there is none. */
  readonly nextCursor: string | null;
  /** The header that leads there, for requests with this URL. */
  link?: { readonly url: string; readonly header: string };
};

/** The ids of the articles and of the users that a response has a flag for, in the order of the flags. */
export type FlaggedIds = Readonly<Record<Flag, readonly string[]>>;

/** @param seen the JSON of a response, as any reader sees it */
export function bodyOf(seen: string, ids: FlaggedIds, nextCursor: string | null, articleVersion?: number): Body {
  // Only a member's name is followed by a colon: within a text, a quotation mark is escaped.
  const text = seen
    .replaceAll('"favorited":true', '"favorited":false')
    .replaceAll('"following":true', '"following":false');
  const flags = [...flagsIn(text, "favorited", ids), ...flagsIn(text, "following", ids)];
  flags.sort((one, other) => one.at - other.at);
  return { text, etag: etagOf(text, articleVersion), articleVersion, flags, nextCursor };
}

function flagsIn(text: string, flag: Flag, ids: FlaggedIds): Body["flags"][number][] {
  const name = `"${flag}":`;
  let end = 0;
  const flags = ids[flag].map((id) => {
    const start = text.indexOf(name, end);
    if (start === -1) throw new Error(`a response has fewer flags ${flag} than ids`);
    end = start + name.length;
    return { at: end, flag, id };
  });
  if (text.indexOf(name, end) !== -1) throw new Error(`a response has more flags ${flag} than ids`);
  return flags;
}

/** The response, as a signed-in reader sees it. */
export function textFor({ text, flags }: Body, reader: Reader): string {
  let seen = "";
  let copied = 0;
  for (const { at, flag, id } of flags) {
    if (!reader[flag].has(id)) continue;
    seen += `${text.slice(copied, at)}true`;
    copied = at + "false".length;
  }
  return copied === 0 ? text : seen + text.slice(copied);
}

const FLAG_BYTES = 160;

/** What a response takes in memory, in bytes: a character may take two. */
export const bytesOf = ({ text, flags }: Body): number => 2 * text.length + flags.length * FLAG_BYTES;
