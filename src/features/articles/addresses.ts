// The addresses of articles: where they are, where they were, and where one was deleted.

import type { Database } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { write } from "../../db/statements.ts";
import { ApiError, notFound } from "../../http/errors.ts";
import { Moved } from "../../http/moved.ts";
import type { Viewer } from "../profiles/viewer.ts";
import { isVisible } from "./rows.ts";

/**
 * SQL for the article with the slug `:slug`, otherwise for the one that had it before, if the viewer may see it. A row of nulls
 * is a deleted article whose address is remembered. `requireHere` tells them apart.
 * @param columns of `articles a`
 */
export const articleAtSlug = (viewer: Viewer, columns: string): string => `
  select ${columns} from articles a where a.slug = :slug and ${isVisible("a", viewer)}
   union all
  select ${columns} from former_slugs f left join articles a on a.id = f.article_id
   where f.slug = :slug and (f.article_id is null or ${isVisible("a", viewer)})
   limit 1`;

/** Where an article is now, and whether everybody may know: nulls if it was deleted. */
export type Place = { readonly slug: string | null; readonly status: string | null };

/**
 * Checks that an article is at the slug that was requested. Throws 404, 410 if it was deleted, and `Moved`.
 * @param found its place now; undefined if there is none
 */
export function requireHere(slug: string, found: Place | undefined): void {
  if (found === undefined) throw notFound("article");
  if (found.slug === null) throw new ApiError("gone", { article: ["has been deleted"] });
  if (found.slug !== slug) throw new Moved("slug", found.slug, found.status !== "published");
}

/**
 * SQL for whether a slug belongs to a route or to another article, now or formerly.
 * @param slug SQL for the slug
 * @param id SQL for the id of the article that wants it
 */
export const isTakenSlug = (slug: string, id: string): string => `(${slug} = 'feed'
     or exists (select from articles other where other.slug = ${slug} and other.id <> ${id})
     or exists (select from former_slugs f where f.slug = ${slug} and f.article_id <> ${id}))`;

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
