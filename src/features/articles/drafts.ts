import type { Database } from "../../db/pool.ts";
import { type LeftJoined, type RowOf, rowMapper } from "../../db/rows.ts";
import { read } from "../../db/statements.ts";
import { pageOf } from "../../http/cursor.ts";
import { sessionEnded } from "../identity/current-session.ts";
import { profileOf } from "../profiles/queries.ts";
import type { Profile } from "../profiles/schema.ts";
import { VIEWER, viewerGone } from "../profiles/viewer.ts";
import { type ArticleIds, isPublished, previewColumns, publicationColumns } from "./rows.ts";
import { DraftCursor, type DraftFilters, type DraftList, OwnArticle } from "./schema.ts";

/** The articles of a user that are not published, those that were begun last first. Throws 401. */
export async function listDrafts(
  db: Database,
  userId: string,
  { status, limit, cursor }: DraftFilters,
): Promise<DraftList> {
  const values = { viewerId: userId, status: status ?? null, limit, afterId: cursor?.id ?? ID_MAX };
  const rows = await db.rows(DRAFTS, values);
  if (rows[0]?.viewerGone) throw sessionEnded();
  const found = rows.flatMap((row) => (row.slug === null ? [] : [row]));
  const { page, nextCursor } = pageOf(found, limit, (last) => DraftCursor.after({ id: last.articleId }));
  return { articles: page.map(draftOf), nextCursor };
}

const ID_MAX = String(2n ** 63n - 1n);

type DraftRow = RowOf<Omit<OwnArticle, "author"> & Profile> & ArticleIds;

const draftOf: (row: DraftRow) => OwnArticle = rowMapper(OwnArticle, { author: profileOf });

// A row without an article if there is none. The limit makes the planner read the index in its order.
const DRAFTS = read<{ viewerGone: boolean } & LeftJoined<DraftRow>>(
  "articles_drafts",
  `select ${viewerGone(VIEWER)}, draft.*
     from (select) as one left join (
       select ${previewColumns(VIEWER)}, ${publicationColumns}
         from articles a join users u on u.id = a.author_id
        where a.author_id = ${VIEWER} and not ${isPublished("a")} and a.id < :afterId::bigint
          and (:status::article_status is null or a.status = :status::article_status)
        order by a.id desc
        limit :limit::bigint + 1) draft on true
    order by draft."articleId" desc`,
  "slow",
);
