import { z } from "zod";
import type { Database, Queries } from "../../db/pool.ts";
import { read, textArray, write } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { addJob, type JobType, removeJob } from "../../jobs/queue.ts";
import { type Task, task } from "../../jobs/task.ts";
import type { Memory } from "../../memory/memory.ts";
import { topics } from "../../memory/topics.ts";
import { type CurrentSession, currentUser, sessionEnded, sessionParameters } from "../identity/current-session.ts";
import { VIEWER, type Viewer } from "../profiles/viewer.ts";
import { isTakenSlug } from "./addresses.ts";
import { type Condition, editArticle, throwUnchanged, updateArticle, withFreeSlug } from "./edits.ts";
import { insertArticle, listsWith, type WrittenArticle } from "./queries.ts";
import { type ArticleRow, articleColumns, articleOf, isPublished } from "./rows.ts";
import { SUFFIX_LENGTH, slugBase, slugWithSuffix } from "./rules.ts";
import type { ArticleUpdate, NewArticle } from "./schema.ts";
import { textFacts } from "./text-facts.ts";

// Drafts and scheduled articles (docs/decisions/0033-drafts.md). The hot path, an article that is published at once, is one
// statement. Everything else is a short transaction, which also adds or removes the job of a scheduled article.

/** Adds an article with any status. Throws 401. */
export function createArticle(db: Queries, author: CurrentSession, article: NewArticle): Promise<WrittenArticle> {
  const { status, publishAt = null } = article;
  if (status === "published") return insertArticle(db, author, article);
  return db.transaction(async (tx) => {
    const written = await insertDraft(tx, author, article);
    if (publishAt !== null) await schedule(tx, written.articleId, publishAt);
    return written;
  });
}

/**
 * Adds an article that is not published. Its slug always has a suffix: with the plain one, the slug of another article with the
 * same title would reveal the draft.
 */
async function insertDraft(
  tx: Queries,
  author: CurrentSession,
  { title, description, body, tagList, status, publishAt = null }: NewArticle,
): Promise<WrittenArticle> {
  const row = await tx.row(INSERT_DRAFT, {
    ...sessionParameters(author),
    slug: slugWithSuffix(slugBase(title)),
    title,
    description,
    body,
    ...textFacts(body),
    tagList: textArray(tagList),
    status,
    publishAt,
  });
  if (row === undefined) throw sessionEnded();
  // It is in no list, and not in memory.
  return { article: articleOf(row), articleId: row.articleId, changed: [] };
}

// The lock keeps the account from being deleted meanwhile.
const INSERT_DRAFT = write<ArticleRow>(
  "article_insert_draft",
  `with u as (${currentUser("*", "for key share")}),
        a as (
          insert into articles (author_id, slug, slug_has_suffix, title, description, body, excerpt, word_count, reading_time,
            tag_list, status, publish_at, published_at)
          select id, :slug, true, :title, :description, :body, :excerpt, :wordCount::integer, :readingTime::integer,
                 :tagList::text[], :status::article_status, :publishAt::timestamptz, null from u
          returning *)
   select ${articleColumns(null)} from u join a on a.author_id = u.id`,
);

/**
 * Changes what is not undefined, maybe the status. Throws 401, 403, 404.
 * @throws StaleArticle if the article does not meet the condition
 */
export async function changeArticle(
  db: Database,
  author: CurrentSession,
  slug: string,
  { status, publishAt = null, ...edit }: ArticleUpdate,
  condition: Condition = {},
): Promise<WrittenArticle> {
  if (status === undefined) return updateArticle(db, author, slug, edit, condition);
  const written = await withFreeSlug((isFirst) =>
    db.transaction(async (tx) => {
      // Locks the article, and checks whose it is and whether it meets the condition.
      const edited = await editArticle(tx, author, slug, edit, condition, isFirst);
      if (edited === null) return null;
      const { articleId } = edited;
      const row = await tx.row(SET_STATUS, {
        articleId,
        viewerId: author.userId,
        status,
        publishAt,
        mayShortenSlug: isFirst,
      });
      if (row === undefined) throw notFound("article");
      await schedule(tx, articleId, publishAt);
      return { article: articleOf(row), articleId, changed: [...edited.changed, ...changedByStatus(row)] };
    }),
  );
  return written ?? throwUnchanged(db, author, slug, condition);
}

/** Makes the article's job run at this time; null for no job. */
async function schedule(tx: Queries, articleId: string, publishAt: string | null): Promise<void> {
  const key = `${PUBLISH_JOB.name} ${articleId}`;
  if (publishAt === null) await removeJob(tx, key);
  else await addJob(tx, PUBLISH_JOB, { articleId }, { key, runAt: new Date(publishAt) });
}

const PUBLISH_JOB = {
  name: "publish_article",
  payload: z.object({ articleId: z.string() }),
  attemptsMax: 10,
  timeoutMs: 15_000,
} satisfies JobType<{ articleId: string }>;

/** Publishes an article when its time has come. */
export const publishScheduled = (db: Database, memory: Memory): Task =>
  task(PUBLISH_JOB, ({ articleId }) => publishDue(db, memory, articleId));

/**
 * Publishes, once a minute, what is due and has lost its job: a backup has no jobs, and a process may be killed while it runs
 * one.
 */
export const publishOverdue = (db: Database, memory: Memory): Task =>
  task(
    OVERDUE_JOB,
    async (_payload, { signal }) => {
      for (const { articleId } of await db.rows(OVERDUE, [])) {
        if (signal.aborted) return;
        await publishDue(db, memory, articleId);
      }
    },
    "* * * * *",
  );

// What one run leaves is for the next.
export const OVERDUE_JOB = {
  name: "publish_overdue",
  payload: z.object({}),
  attemptsMax: 1,
  timeoutMs: 50_000,
} satisfies JobType<object>;

const OVERDUE = read<{ articleId: string }>(
  "articles_overdue",
  `select id::text as "articleId" from articles
    where status = 'scheduled' and publish_at < now() order by publish_at limit 1000`,
  "slow",
);

async function publishDue(db: Database, memory: Memory, articleId: string): Promise<void> {
  const row = await withFreeSlug((mayShortenSlug) => db.row(PUBLISH_DUE, { articleId, mayShortenSlug }));
  // Otherwise it was published, withdrawn, rescheduled or deleted before.
  if (row !== undefined) await memory.changed(changedByStatus(row));
}

/** An article after a change of its status, and whether it was published just before, and ever. */
type StatusRow = ArticleRow & { wasListed: boolean; wasPublished: boolean };

function changedByStatus({ articleId, userId, tagList, status, wasListed, wasPublished }: StatusRow): string[] {
  if ((status === "published") === wasListed) return [];
  return [
    // What is not published is not in memory.
    ...(wasListed ? [topics.article(articleId), topics.comments(articleId)] : []),
    // Its favourites disappear and return with it.
    ...(wasPublished ? [topics.deletions] : []),
    ...listsWith(userId, tagList),
  ];
}

/**
 * A statement that changes the status of an article. At the first publication, the article gets its time and, if it can have
 * it, the plain slug. It returns no row if there is no such article.
 * @param target SQL for which article `a`
 * @param status SQL for its new status
 * @param publishAt SQL for its new time
 * @param viewer SQL for the id of who reads the result
 */
const statusChange = (name: string, target: string, status: string, publishAt: string, viewer: Viewer) =>
  write<StatusRow>(
    name,
    `with before as (select * from articles a where ${target} for no key update),
          next as (
            select id, is_first,
                   is_first and :mayShortenSlug::boolean and slug_has_suffix
                     and not ${isTakenSlug("plain_slug", "b.id")} as shortens, plain_slug
              from (select *, published_at is null and ${status} = 'published' as is_first,
                           left(slug, -${1 + SUFFIX_LENGTH}) as plain_slug
                      from before) b),
          a as (
            update articles a
               set status = ${status},
                   publish_at = ${publishAt},
                   -- A version that was published or withdrawn is not one of many that the editor saved.
                   is_autosaved = a.is_autosaved and a.status = ${status},
                   published_at = case when is_first then now() else a.published_at end,
                   updated_at = case when is_first then greatest(now(), a.updated_at) else a.updated_at end,
                   slug = case when shortens then plain_slug else a.slug end,
                   slug_has_suffix = a.slug_has_suffix and not shortens
              from next where a.id = next.id
            returning a.*)
     select ${articleColumns(viewer)}, ${isPublished("b")} as "wasListed", b.published_at is not null as "wasPublished"
       from a join before b on b.id = a.id join users u on u.id = a.author_id`,
  );

const SET_STATUS = statusChange(
  "article_set_status",
  "a.id = :articleId::bigint",
  ":status::article_status",
  ":publishAt::timestamptz",
  VIEWER,
);

const PUBLISH_DUE = statusChange(
  "article_publish_due",
  "a.id = :articleId::bigint and a.status = 'scheduled' and a.publish_at <= now()",
  "'published'::article_status",
  "null",
  null,
);
