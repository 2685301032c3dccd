import { z } from "zod";
import { changesDirection, isBlank } from "./characters.ts";

/**
 * The building blocks of request shapes. Messages read as the rest of a sentence that begins with the field's name.
 * A missing field and null are both "can't be blank": the contract's wording for what must be there.
 */

/** Number of characters as people count them: code points, not UTF-16 units. */
export function characters(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length - 1; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) count--;
  }
  return count;
}

/** Whether PostgreSQL can store it: no U+0000, and UTF-8 has no form for half a surrogate pair. */
export const isStorable = (text: string): boolean => !text.includes("\0") && text.isWellFormed();

export const NOT_STORABLE = "contains a character that is not allowed";
/** What `isStorable` allows, for the document. JSON in UTF-8 cannot have half a surrogate pair. */
export const STORABLE_PATTERN = String.raw`^[^\x00]*$`;
/** The same, and not only of white space. */
export const NOT_BLANK_PATTERN = String.raw`^[^\x00]*[^\s\x00][^\x00]*$`;
export const INVISIBLE = "must not contain invisible or unassigned characters";

/** Any text that can be stored, the empty one included, of at most `max` characters. */
export function text(max: number) {
  return z
    .string({ error: (issue) => (issue.input == null ? "can't be blank" : "must be a string") })
    .refine(isStorable, { error: NOT_STORABLE, abort: true })
    .refine((value) => value.length <= max || characters(value) <= max, {
      error: `is too long (maximum is ${max} characters)`,
    })
    .meta({ pattern: STORABLE_PATTERN, ...(max === Number.POSITIVE_INFINITY ? {} : { maxLength: max }) });
}

/** Text of at most `max` characters, of which at least one is visible. */
export function requiredText(max: number) {
  return text(max)
    .refine((value) => !isBlank(value), { error: "can't be blank", abort: true })
    .meta({ minLength: 1, pattern: NOT_BLANK_PATTERN });
}

/** Text of 1 to `max` characters, of any kind: a token, or a password that is only compared. */
export function nonEmptyText(max: number) {
  return text(max)
    .refine((value) => value !== "", "can't be blank")
    .meta({ minLength: 1 });
}

/** Required text that lists show next to other text, whose order it must not change. */
export function requiredLine(max: number) {
  return requiredText(max).refine(
    (value) => !changesDirection(value),
    "must not contain characters that override the text direction",
  );
}

/** Text of at most `max` characters or null; the empty string means null. Absent stays undefined. */
export function optionalText(max: number) {
  return text(max)
    .transform((value) => (value === "" ? null : value))
    .nullable()
    .optional();
}

/** A query parameter that filters by a name. Absent and empty both mean no filter. */
export const filter = z
  .string()
  .refine(isStorable, NOT_STORABLE)
  .transform((value) => value || undefined)
  .optional()
  .meta({ pattern: STORABLE_PATTERN });

const SEARCH_MAX = 200;

/** A query parameter with what a reader searches for. Only spaces is the same as empty. */
export const searchText = z
  .string({ error: "can't be blank" })
  .refine(isStorable, { error: NOT_STORABLE, abort: true })
  .refine((value) => characters(value) <= SEARCH_MAX, `is too long (maximum is ${SEARCH_MAX} characters)`)
  .transform((value) => value.trim())
  .meta({ wire: { type: "string", maxLength: SEARCH_MAX } });

/** A query parameter that is a whole number from `min`; larger than `max` is cut to `max`. */
export function wholeNumber(min: number, max: number, fallback: number) {
  return z
    .string()
    .regex(/^[0-9]+$/, { error: `must be a whole number from ${min}`, abort: true })
    .transform((value) => Math.min(Number(value), max))
    .refine((value) => value >= min, `must be a whole number from ${min}`)
    .default(fallback)
    .meta({ wire: { type: "integer", minimum: min, default: fallback } });
}

/**
 * An object under `key`, as in `{"user": {…}}`, the envelope of every request body. Unknown fields are ignored.
 * @param meta more of the object under `key` for the document
 */
export function envelope<Key extends string, Shape extends z.ZodRawShape>(
  key: Key,
  shape: Shape,
  meta: { minProperties?: number } = {},
) {
  return z.object({ [key]: z.object(shape, { error: missingOrWrong }).meta(meta) } as Record<Key, z.ZodObject<Shape>>, {
    error: "must be an object",
  });
}

const missingOrWrong = (issue: { input?: unknown }) => (issue.input == null ? "is missing" : "must be an object");

/** In a response: a point in time in UTC, with milliseconds (RFC 3339). */
export const timestamp = z.string().meta({ format: "date-time", examples: ["2026-01-31T12:34:56.789Z"] });
