// The addresses of articles: where they are, where they were, and where one was deleted.

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
