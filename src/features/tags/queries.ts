import type { Database } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";

/** The list of tags as it was at a version of itself. */
export type TagList = {
  /** Rises with every change. */
  readonly version: string;
  /** `["tag", …]` as JSON text in UTF-8, most used first, then by name. */
  readonly json: Uint8Array;
};

/** The tags in use now. Where that is still what is `known`, it costs the database next to nothing. */
export async function listTags(db: Database, known: TagList | undefined): Promise<TagList> {
  const row = await db.row(TAGS, [known?.version ?? "-1"]);
  if (row === undefined) throw new Error("the list of tags has no row");
  if (row.version === known?.version) return known;
  return { version: row.version, json: new TextEncoder().encode(row.tags ?? "[]") };
}

// A statement sees one state of all tables, so version and list belong together.
const TAGS = read<{ version: string; tags: string | null }>(
  "tags",
  `with state as materialized (select sum(tag_changes)::bigint as version from article_totals where slot between 0 and 31)
   select version, case when version <> $1::bigint then (
            select json_agg(name order by articles_count desc, name)::text from tags where articles_count > 0) end as tags
     from state`,
);
