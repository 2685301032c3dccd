import type { Database } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";

/** The tags in use, most used first, then by name. */
export async function listTags(db: Database): Promise<string[]> {
  const row = await db.row(TAGS, []);
  return row?.tags ?? [];
}

// One array instead of a row for each: a fifth of the work for driver and network.
const TAGS = read<{ tags: string[] | null }>(
  "tags",
  "select array_agg(name order by articles_count desc, name) as tags from tags where articles_count > 0",
);
