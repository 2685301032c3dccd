import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { type LeftJoined, type RowOf, rowMapper } from "../../db/rows.ts";
import { write } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { requireOwned } from "../articles/queries.ts";
import { userMissing } from "../identity/guards.ts";
import { profileColumns, profileOf } from "../profiles/queries.ts";
import type { Profile } from "../profiles/schema.ts";
import { readForViewer, rowsForViewer, type Viewer, viewerGone } from "../profiles/viewer.ts";
import { Comment } from "./schema.ts";

/** The columns of a comment, of `comments c` and its author `users u`, as a viewer sees them. */
const commentColumns = (viewer: Viewer): string => `
    c.id,
    c.created_at as "createdAt",
    c.updated_at as "updatedAt",
    c.body,
    ${profileColumns(viewer)}`;

/** A row with the columns of `commentColumns`. */
type CommentRow = RowOf<Omit<Comment, "id" | "author"> & Profile> & { id: string };

const commentOf: (row: CommentRow) => Comment = rowMapper(Comment, {
  // The driver returns a bigint as text.
  id: (row) => Number(row.id),
  author: profileOf,
});

/** An article's comments, newest first, as the viewer sees them. Throws 404. */
export async function listComments(
  db: Database,
  viewerId: string | null,
  slug: string,
): Promise<{ comments: Comment[]; viewerGone: boolean }> {
  const rows = await rowsForViewer(db, COMMENTS, viewerId, { slug });
  const [first] = rows;
  if (first === undefined) throw notFound("article");
  return {
    comments: rows.flatMap((row) => (row.id === null ? [] : [commentOf(row)])),
    viewerGone: first.viewerGone,
  };
}

// No row if there is no such article; a single row without a comment if it has none.
const COMMENTS = readForViewer<{ viewerGone: boolean } & LeftJoined<CommentRow>>(
  "comments",
  (viewer) => `select ${commentColumns(viewer)}, ${viewerGone(viewer)}
     from articles a left join (comments c join users u on u.id = c.author_id) on c.article_id = a.id
    where a.slug = :slug
    order by c.created_at desc, c.id desc`,
);

/** Adds a comment of the viewer to an article. Throws 401, 404. */
export async function insertComment(db: Database, viewerId: string, slug: string, body: string): Promise<Comment> {
  try {
    const outcome = await db.row(INSERT_COMMENT, [viewerId, slug, body]);
    if (outcome?.viewer == null) throw userMissing();
    if (outcome.id === null) throw notFound("article");
    return commentOf(outcome);
  } catch (error) {
    // One of the two was deleted after the statement had read it.
    if (violatedConstraint(error) === "comments_author_id_fkey") throw userMissing();
    if (violatedConstraint(error) === "comments_article_id_fkey") throw notFound("article");
    throw error;
  }
}

const INSERT_COMMENT = write<{ viewer: string | null } & LeftJoined<CommentRow>>(
  "comment_insert",
  `with u as (select * from users where id = $1::bigint),
        c as (
          insert into comments (article_id, author_id, body)
          select a.id, u.id, $3 from articles a, u where a.slug = $2
          returning *)
   select u.id as viewer, ${commentColumns(null)}
     from (select) as one left join u on true left join c on true`,
);

/**
 * Deletes a comment of the viewer on an article. Throws 401, 403, 404.
 * @param commentId the number of the comment as text; other text is the number of no comment
 */
export async function deleteComment(db: Database, viewerId: string, slug: string, commentId: string): Promise<void> {
  const id = /^[0-9]{1,18}$/.test(commentId) ? commentId : "0";
  const outcome = await db.row(DELETE_COMMENT, [viewerId, slug, id]);
  if (outcome?.viewer != null && outcome.article === null) throw notFound("article");
  requireOwned(outcome, "comment");
  if (outcome.deleted === null) throw notFound("comment");
}

const DELETE_COMMENT = write<{
  viewer: string | null;
  article: string | null;
  existed: string | null;
  owned: boolean | null;
  deleted: string | null;
}>(
  "comment_delete",
  `with viewer as (select id from users where id = $1::bigint),
        article as (select id from articles where slug = $2),
        target as (
          select c.id, c.author_id from comments c, article a where c.id = $3::bigint and c.article_id = a.id),
        deleted as (
          delete from comments c using target t, viewer v where c.id = t.id and c.author_id = v.id returning c.id)
   select v.id as viewer, a.id as article, t.id as existed, t.author_id = v.id as owned, d.id as deleted
     from (select) as one left join viewer v on true left join article a on true
     left join target t on true left join deleted d on true`,
);
