import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { type LeftJoined, type RowOf, rowMapper } from "../../db/rows.ts";
import { batch, write } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { topics } from "../../memory/topics.ts";
import { articleAtSlug, requireHere } from "../articles/addresses.ts";
import { requireOwned } from "../articles/queries.ts";
import {
  type CurrentSession,
  currentUser,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import { type ProfileId, profileColumns, profileOf, seenProfiles } from "../profiles/queries.ts";
import type { Profile } from "../profiles/schema.ts";
import type { Seen } from "../profiles/shared-reads.ts";
import {
  readForViewer,
  rowsForViewer,
  slowForViewer,
  type Viewer,
  type ViewerRead,
  viewerGone,
} from "../profiles/viewer.ts";
import { Comment, CommentCursor, type CommentList, type CommentsPage } from "./schema.ts";

/** The columns of a comment, of `comments c` and its author `users u`, as a viewer sees them. */
const commentColumns = (viewer: Viewer): string => `
    c.id,
    c.created_at as "createdAt",
    c.updated_at as "updatedAt",
    c.body,
    ${profileColumns(viewer)}`;

/** A row with the columns of `commentColumns`. */
type CommentRow = RowOf<Omit<Comment, "id" | "author"> & Profile> & { id: string } & ProfileId;

const commentOf: (row: CommentRow) => Comment = rowMapper(Comment, {
  // The driver returns a bigint as text.
  id: (row) => Number(row.id),
  author: profileOf,
});

/** A page of comments ends at `limit`, or where the bodies have this many bytes. The first is returned whatever its size. */
const PAGE_BYTES_MAX = 1024 * 1024;
/** What the connection that other reads share may carry at a time. */
const FAST_PAGE_BYTES_MAX = 64 * 1024;

/** An article's comments after a position, newest first, as the viewer sees them. Throws as `findArticle`. */
export async function listComments(
  db: Database,
  viewerId: string | null,
  slug: string,
  { limit, cursor }: CommentsPage,
): Promise<Seen<CommentList>> {
  const values = { slug, limit, afterTime: cursor?.createdAt ?? "infinity", afterId: cursor?.id ?? "0" };
  const pageWithin = async (read: ViewerRead<CommentsRow>, bytesMax: number) => {
    const rows = await rowsForViewer(db, read, viewerId, { ...values, bytesMax });
    const [first] = rows;
    requireHere(slug, first?.articleSlug);
    if (first == null || first.articleId === null) throw notFound("article");
    const comments = rows.flatMap((row) => (row.id === null ? [] : [row]));
    return { first: { ...first, articleId: first.articleId }, comments };
  };
  let { first, comments } = await pageWithin(COMMENTS, FAST_PAGE_BYTES_MAX);
  // Most pages are small. The size of one is only known when it is read.
  if (first.isCut) ({ first, comments } = await pageWithin(LARGE_COMMENTS, PAGE_BYTES_MAX));
  const page = comments.map(commentOf);
  const last = page.at(-1);
  const nextCursor = first.hasMore && last !== undefined ? CommentCursor.after({ ...last, id: String(last.id) }) : null;
  const { ids, topics: authors } = seenProfiles(comments);
  return {
    value: { comments: page, nextCursor },
    nextCursor,
    ids,
    topics: [topics.comments(first.articleId), ...authors],
    viewerGone: first.viewerGone,
  };
}

// No row if there is no such article; a single row without a comment if the page is empty.
const COMMENTS = readForViewer<CommentsRow>(
  "comments",
  (viewer) => `with article as materialized (${articleAtSlug(viewer, "a.id, a.slug")}),
     -- One more than a page has.
     newest as materialized (
       select c.*, row_number() over so_far as place, sum(octet_length(c.body)) over so_far as bytes
         from (select * from comments
                where article_id = (select id from article)
                  and (created_at, id) < (:afterTime::timestamptz, :afterId::bigint)
                order by created_at desc, id desc
                limit :limit::bigint + 1) c
       window so_far as (order by c.created_at desc, c.id desc)),
     page as materialized (
       select * from newest where place <= :limit::bigint and (place = 1 or bytes <= :bytesMax::bigint))
   select article.id as "articleId", article.slug as "articleSlug", ${commentColumns(viewer)}, ${viewerGone(viewer)},
          (select count(*) from newest) > (select count(*) from page) as "hasMore",
          exists (select from newest
                   where place between 2 and :limit::bigint and bytes > :bytesMax::bigint) as "isCut"
     from article left join (
            -- The limit makes the planner, which does not know how short a page is, use the index.
            page c cross join lateral (select * from users where id = c.author_id limit 1) u) on true
    order by c.created_at desc, c.id desc`,
);

type CommentsRow = {
  /** Null if the article was deleted. */
  articleId: string | null;
  articleSlug: string | null;
  viewerGone: boolean;
  hasMore: boolean;
  isCut: boolean;
} & LeftJoined<CommentRow>;

const LARGE_COMMENTS = slowForViewer(COMMENTS);

/** Adds a comment of the viewer to an article. Returns it, and what that has changed. Throws 401, 404. */
export async function insertComment(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  body: string,
): Promise<{ comment: Comment; changed: readonly string[] }> {
  try {
    const outcome = await db.row(INSERT_COMMENT, { ...sessionParameters(viewer), slug, body });
    if (outcome?.viewer == null) throw sessionEnded();
    if (outcome.id === null) throw notFound("article");
    return { comment: commentOf(outcome), changed: [topics.comments(outcome.articleId)] };
  } catch (error) {
    // One of the two was deleted after the statement had read it.
    if (violatedConstraint(error) === "comments_author_id_fkey") throw sessionEnded();
    if (violatedConstraint(error) === "comments_article_id_fkey") throw notFound("article");
    throw error;
  }
}

const INSERT_COMMENT = batch<{ viewer: string | null } & LeftJoined<CommentRow & { articleId: string }>>(
  "comment_insert",
  { types: { ...SESSION_TYPES, slug: "text", body: "text" } },
  `u as materialized (
     select item.place, item.body as written, nextval('comments_id_seq') as comment_id, id, article_id, username, bio, image
       from item left join lateral (${userOfItem("id, username, bio, image")}) u on true
            left join lateral (select id as article_id from articles where slug = item.slug limit 1) a on true),
   c as (
     insert into comments (id, article_id, author_id, body)
     overriding system value
     select comment_id, article_id, u.id, written from u
      where u.id is not null and article_id is not null order by place
     returning *)
   select place, u.id as viewer, c.article_id as "articleId", ${commentColumns(null)}
     from u left join c on c.id = u.comment_id`,
);

/**
 * Deletes a comment that the viewer wrote, or that is on an article of the viewer. Returns what that has changed. Throws
 * 401, 403, 404.
 * @param commentId the number of the comment as text; other text is the number of no comment
 */
export async function deleteComment(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  commentId: string,
): Promise<{ changed: readonly string[] }> {
  const id = /^[0-9]{1,18}$/.test(commentId) ? commentId : "0";
  const outcome = await db.row(DELETE_COMMENT, { ...sessionParameters(viewer), slug, id });
  if (outcome?.viewer != null && outcome.article === null) throw notFound("article");
  requireOwned(outcome, "comment");
  if (outcome.deleted === null || outcome.article === null) throw notFound("comment");
  return { changed: [topics.comments(outcome.article)] };
}

const DELETE_COMMENT = write<{
  viewer: string | null;
  article: string | null;
  existed: string | null;
  owned: boolean | null;
  deleted: string | null;
}>(
  "comment_delete",
  `with viewer as (${currentUser("id")}),
        article as (select id, author_id from articles where slug = :slug),
        target as (
          select c.id, v.id in (c.author_id, a.author_id) as owned
            from viewer v, comments c, article a where c.id = :id::bigint and c.article_id = a.id),
        deleted as (
          delete from comments c using target t where c.id = t.id and t.owned returning c.id)
   select v.id as viewer, a.id as article, t.id as existed, t.owned, d.id as deleted
     from (select) as one left join viewer v on true left join article a on true
     left join target t on true left join deleted d on true`,
);
