import { type Database, read } from "../platform/database.ts";

/** The tags in use, most used first, then by name, as JSON text. */
export async function listTags(db: Database): Promise<string> {
  return (await db.row(TAGS, []))?.tags ?? "[]";
}

const TAGS = read<{ tags: string | null }>(
  "tags",
  `select json_agg(name order by articles_count desc, name)::text as tags from tags where articles_count > 0`,
);
