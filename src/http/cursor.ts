import type { Context } from "hono";
import { z } from "zod";

/**
 * Cursors of lists: where a page ends, as a text that only this server can read. A page that begins after a position, not
 * after a number of rows, stays right while others insert and delete, and costs the same however deep it is.
 *
 * The text is base64url of a JSON array: the version of the format, the name of the list, and the position, which is the
 * values of the columns that the list sorts by. Clients must not rely on that.
 */
const VERSION = 1;

/** Far longer than any cursor. */
const LENGTH_MAX = 512;

/** The columns that a list can sort by, as they appear in a cursor. Each has exactly one form, so a position has one cursor. */
export const position = {
  /** A point in time to the millisecond, as RFC 3339 text in UTC. In a cursor, milliseconds since 1970, until year 9999. */
  time: z.codec(z.int().min(0).max(253_402_300_799_999), z.iso.datetime({ precision: 3 }), {
    decode: (ms) => new Date(ms).toISOString(),
    encode: (text) => Date.parse(text),
  }),
  /** An id of a table: a bigint above 0, as text. */
  id: z
    .string()
    .regex(/^[1-9][0-9]{0,18}$/)
    .refine((text) => BigInt(text) < 2n ** 63n),
};

type Columns = Readonly<Record<string, z.ZodType>>;
export type Position<Shape extends Columns> = { readonly [Column in keyof Shape]: z.output<Shape[Column]> };

export type Cursor<Shape extends Columns> = {
  /** The query parameter `cursor`: a position of this list, or undefined without one. Anything else "is invalid". */
  readonly parameter: z.ZodType<Position<Shape> | undefined, string | undefined>;
  /** The cursor of the page after this position. */
  after(position: Position<Shape>): string;
};

/**
 * The cursors of one list.
 * @param list its name; a cursor of another list is invalid
 * @param columns what the list sorts by, the last one unique, with their forms: see `position`
 */
export function cursorOf<const Shape extends Columns>(list: string, columns: Shape): Cursor<Shape> {
  const names = Object.keys(columns);
  const form = z.tuple([z.literal(VERSION), z.literal(list), ...names.map((name) => columns[name] as z.ZodType)]);
  return {
    parameter: z
      .string()
      .transform((text, context) => {
        const decoded = form.safeParse(parsed(text));
        if (decoded.success) {
          const values = decoded.data.slice(2);
          return Object.fromEntries(names.map((name, i) => [name, values[i]])) as Position<Shape>;
        }
        context.addIssue({ code: "custom", message: "is invalid" });
        return z.NEVER;
      })
      .optional()
      .meta({
        wire: { type: "string" },
        description: "Where the page begins: the `nextCursor` of the page before, with the same filters",
      }),
    after(position) {
      const values = names.map((name) => z.encode(columns[name] as z.ZodType, position[name]));
      return Buffer.from(JSON.stringify([VERSION, list, ...values])).toString("base64url");
    },
  };
}

/** The JSON in a cursor; undefined if it has none. */
function parsed(text: string): unknown {
  if (text.length > LENGTH_MAX || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString());
  } catch {
    return undefined;
  }
}

/** In the response of a list. */
export const nextCursor = z
  .string()
  .nullable()
  .meta({ description: 'The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page.' });

/** Sets `Link: <…>; rel="next"` (RFC 8288) to the next page. Nothing if there is none. */
export function linkNextPage(c: Context, cursor: string | null): void {
  if (cursor !== null) c.header("Link", nextPageLink(c, cursor));
}

/**
 * The header that leads to the same request with this cursor: a path with the other parameters, without `offset`, which the
 * cursor replaces, and below the path of `BASE_URL`.
 */
export function nextPageLink(c: Context, cursor: string): string {
  // A request that names no host has a URL of a path alone.
  const { pathname, searchParams } = new URL(c.req.url, "http://localhost");
  searchParams.delete("offset");
  searchParams.set("cursor", cursor);
  return `<${c.get("basePath") ?? ""}${pathname}?${searchParams}>; rel="next"`;
}

/**
 * Cuts rows to a page. A list reads one row more than a page has, which shows whether there is another page.
 * @param rows at most `limit` + 1
 */
export function pageOf<Row>(
  rows: Row[],
  limit: number,
  cursorAfter: (last: Row) => string,
): { page: Row[]; nextCursor: string | null } {
  const last = rows.length > limit ? rows[limit - 1] : undefined;
  return last === undefined
    ? { page: rows, nextCursor: null }
    : { page: rows.slice(0, limit), nextCursor: cursorAfter(last) };
}
