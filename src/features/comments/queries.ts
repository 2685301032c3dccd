import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { write } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { requireOwned } from "../articles/queries.ts";
import { userMissing } from "../identity/guards.ts";
import { authorSeenBy } from "../profiles/queries.ts";
import { readByViewer, rowSeen, type Seen, viewerGone } from "../profiles/viewer.ts";

/** A comment as JSON text, an SQL expression: of `comments c` and its author `users u`, seen by a viewer. Null where `c` is. */
const commentSeenBy = (viewer: string): string =>
  `'{' || c.json_members || ',"body":' || to_json(c.body) || ',"author":' || ${authorSeenBy(viewer)} || '}'`;

/** An article's comments, newest first, seen by a viewer. Throws 404. */
export async function listComments(db: Database, viewerId: string | null, slug: string): Promise<Seen> {
  const comments = await rowSeen(db, COMMENTS, viewerId, [slug]);
  if (comments === undefined) throw notFound("article");
  return { answer: comments.answer, viewerGone: comments.viewer_gone };
}

// No row: no article.
const COMMENTS = readByViewer<{ answer: string; viewer_gone: boolean }>(
  "comments",
  (viewer) => `select '{"comments":[' || coalesce((
       select string_agg(${commentSeenBy(viewer)}, ',' order by c.created_at desc, c.id desc)
         from comments c join users u on u.id = c.author_id where c.article_id = a.id), '') || ']}' as answer,
       ${viewerGone(viewer)}
     from articles a
    where a.slug = $1`,
);

/** Adds a comment of the viewer. Throws 401, 404. Returns it as JSON text. */
export async function insertComment(db: Database, viewerId: string, slug: string, body: string): Promise<string> {
  try {
    const outcome = await db.row(INSERT_COMMENT, [viewerId, slug, body]);
    if (outcome?.viewer == null) throw userMissing();
    if (outcome.answer === null) throw notFound("article");
    return outcome.answer;
  } catch (error) {
    // Either was deleted between the statement's look and its insert.
    if (violatedConstraint(error) === "comments_author_id_fkey") throw userMissing();
    if (violatedConstraint(error) === "comments_article_id_fkey") throw notFound("article");
    throw error;
  }
}

const INSERT_COMMENT = write<{ viewer: string | null; answer: string | null }>(
  "comment_insert",
  `with viewer as (select * from users where id = $1::bigint),
        c as (
          insert into comments (article_id, author_id, body)
          select a.id, v.id, $3 from articles a, viewer v where a.slug = $2
          returning *)
   select u.id as viewer, '{"comment":' || ${commentSeenBy("$1::bigint")} || '}' as answer
     from (select) as one left join viewer u on true left join c on true`,
);

/**
 * Deletes a comment of the viewer on an article. Throws 401, 403, 404.
 * @param commentId a whole number as text; anything else is no comment's
 */
export async function deleteComment(db: Database, viewerId: string, slug: string, commentId: string): Promise<void> {
  const id = /^[0-9]{1,18}$/.test(commentId) ? commentId : "0";
  const outcome = await db.row(DELETE_COMMENT, [viewerId, slug, id]);
  if (outcome?.viewer != null && outcome.article === null) throw notFound("article");
  requireOwned(outcome, outcome?.deleted != null, "comment");
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
