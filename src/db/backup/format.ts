import { z } from "zod";

/*
 * A backup is one file: JSON lines, gzipped.
 *
 * 1. A header.
 * 2. Each table, sorted by name: a line with its columns, a line for each row (an array of the columns as PostgreSQL writes
 *    them, or null), and a line with the number of rows.
 * 3. The next numbers of the identity columns.
 * 4. The SHA-256 of all lines before.
 *
 * The job queue is not part of it: yesterday's mail must not be sent again when yesterday's backup is restored.
 *
 * Rows as text, not the files of the cluster: they do not depend on the version of PostgreSQL, its platform or its
 * collations, they fit an external PostgreSQL as well as the embedded one, and `zcat` shows them. The types of the columns
 * are not part of it: they come from the migrations of the header.
 */

export const FORMAT_VERSION = 1;

/** No row that the API accepts comes near it. Bounds the memory that a file can take. */
export const LINE_CHARACTERS_MAX = 64 * 1024 * 1024;

export const Header = z.object({
  format: z.literal("conduit-backup"),
  version: z.int(),
  /** The version of this program. */
  conduit: z.string(),
  postgres: z.string(),
  takenAt: z.iso.datetime(),
  migrations: z.array(z.object({ file: z.string().regex(/^[\w.-]{1,100}$/), checksum: z.string() })).min(1),
});
export type Header = z.output<typeof Header>;

export const TableLine = z.object({ table: z.string(), columns: z.array(z.string()) });
export type TableLine = z.output<typeof TableLine>;

export const RowsLine = z.object({ rows: z.int().nonnegative() });
export type RowsLine = z.output<typeof RowsLine>;

export const SequencesLine = z.object({
  sequences: z.array(
    z.object({ table: z.string(), column: z.string(), value: z.string().regex(/^\d{1,19}$/), used: z.boolean() }),
  ),
});
export type SequencesLine = z.output<typeof SequencesLine>;

/** What was backed up or restored: rows by table. */
export type BackupReport = { readonly takenAt: string; readonly rows: Readonly<Record<string, number>> };

/** A file is not a backup, or not a complete one. The message completes "FILE is not a complete backup: …". */
export class InvalidBackup extends Error {
  override readonly name = "InvalidBackup";
}

/** Text from a file or about it, for a message of one line. */
export const oneLine = (text: string): string => text.replace(/[\s\p{C}]+/gu, " ").slice(0, 200);

/** @throws InvalidBackup if a line is not of this shape */
export function parseLine<Shape extends z.ZodType>(shape: Shape, line: string): z.output<Shape> {
  const parsed = shape.safeParse(parseJson(line));
  if (parsed.success) return parsed.data;
  throw new InvalidBackup(`it has an unexpected line: ${oneLine(line.slice(0, 60))}`);
}

/** @throws InvalidBackup if a line is not a row with this many columns, as JSON that PostgreSQL reads in the same way */
export function requireRow(line: string, columns: number): void {
  const row = parseJson(line);
  const isRow =
    Array.isArray(row) &&
    row.length === columns &&
    row.every((value) => value === null || (typeof value === "string" && value.isWellFormed()));
  if (!isRow) throw new InvalidBackup(`it has a row without ${columns} columns: ${oneLine(line.slice(0, 60))}`);
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new InvalidBackup(`it has a line that is not JSON: ${oneLine(line.slice(0, 60))}`);
  }
}
