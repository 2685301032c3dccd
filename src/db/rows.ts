import type { z } from "zod";

/** A row of a left join: the columns of `Row`, or null in each of them. */
export type LeftJoined<Row> = Row | { [Column in keyof Row]: null };

/**
 * Makes a function that turns a row into an object of the API: it takes the members that the schema names from the columns
 * of the same names. So a new member is a line in the statement and a line in the schema, and no other column gets out.
 */
export function membersOf<Schema extends z.ZodObject>(schema: Schema): (row: z.output<Schema>) => z.output<Schema> {
  const names = Object.keys(schema.shape) as (keyof z.output<Schema>)[];
  return (row) => {
    const object = {} as z.output<Schema>;
    for (const name of names) object[name] = row[name];
    return object;
  };
}
