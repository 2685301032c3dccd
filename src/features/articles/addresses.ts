// The addresses of articles: where they are, where they were, and where one was deleted.

import type { Database } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { write } from "../../db/statements.ts";
import { ApiError, notFound } from "../../http/errors.ts";
import { Moved } from "../../http/moved.ts";
import type { Viewer } from "../profiles/viewer.ts";
import { isPublished } from "./rows.ts";

/**
 * SQL for the article with the slug `:slug`, otherwise for the one that had it before, unless the viewer must not know of
 * that one. A row of nulls is a deleted article whose address is remembered. `requireHere` tells them apart.
 * @param columns of `articles a`
 */
export const articleAtSlug = (viewer: Viewer, columns: string): string => `
  select ${columns} from articles a where a.slug = :slug
   union all
  select ${columns} from former_slugs f left join articles a on a.id = f.article_id
   where f.slug = :slug and (f.article_id is null or ${isPublished("a")}${viewer === null ? "" : ` or a.author_id = ${viewer}`})
   limit 1`;

/**
 * Checks that an article is at the slug that was requested. Throws 404, 410 if it was deleted, and `Moved`.
 * @param found the slug that it has now; null if it was deleted, undefined if there is none
 */
export function requireHere(slug: string, found: string | null | undefined): void {
  if (found === undefined) throw notFound("article");
  if (found === null) throw new ApiError("gone", { article: ["has been deleted"] });
  if (found !== slug) throw new Moved("slug", found);
}

/** Forgets addresses of deleted articles, at most 10,000: no longer wanted by `DELETED_ARTICLES`. Returns how many. */
export async function purgeDeletedAddresses(db: Database): Promise<number> {
  return (await db.row(DELETED_ADDRESSES_PURGE, []))?.purged ?? 0;
}

const DELETED_ADDRESSES_PURGE = write<{ purged: number }>(
  "deleted_addresses_purge",
  `with purged as (
     delete from former_slugs where slug in (
       select slug from former_slugs where article_id is null order by slug limit ${PURGE_BATCH} for update skip locked)
     returning slug)
   select count(*)::integer as purged from purged`,
);
