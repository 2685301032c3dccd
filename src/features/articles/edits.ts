// Edits and deletions of an article by its author.

import { violatedConstraint } from "../../db/errors.ts";
import type { Database, Queries } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { textArray, write } from "../../db/statements.ts";
import { forbidden, notFound } from "../../http/errors.ts";
import type { IfVersions } from "../../http/if-match.ts";
import { topics } from "../../memory/topics.ts";
import { type CurrentSession, currentUser, sessionEnded, sessionParameters } from "../identity/current-session.ts";
import { VIEWER } from "../profiles/viewer.ts";
import { isTakenSlug } from "./addresses.ts";
import { findArticle, listsWith, type WrittenArticle } from "./queries.ts";
import { type ArticleRow, articleColumns, articleOf, isPublished, isVisible } from "./rows.ts";
import { SUFFIX_LENGTH, slugBase, slugWithSuffix } from "./rules.ts";
import type { ArticleStatus, ArticleUpdate } from "./schema.ts";
import { StaleArticle } from "./stale.ts";
import { textFacts } from "./text-facts.ts";

/** What an article must be so that a write changes it; undefined and null for anything. */
export type Condition = {
  readonly ifVersions?: IfVersions;
  readonly ifStatuses?: readonly ArticleStatus[] | null;
};

/**
 * Changes what is not undefined, except for the status. The slug follows a changed title. A trigger keeps the version before.
 * Throws 401, 403, 404.
 * @throws StaleArticle if the article does not meet the condition
 */
export async function updateArticle(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  update: ArticleUpdate,
  condition: Condition = {},
): Promise<WrittenArticle> {
  const written = await withFreeSlug((isFirst) => editArticle(db, viewer, slug, update, condition, isFirst));
  return written ?? throwUnchanged(db, viewer, slug, condition);
}

/**
 * Tries again where another article took the slug meanwhile.
 * @param write gets whether it may try a slug without a suffix, which it does only once
 */
export async function withFreeSlug<Result>(write: (isFirst: boolean) => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await write(attempt === 1);
    } catch (error) {
      if (violatedConstraint(error) !== "articles_slug_key" || attempt === 3) throw error;
    }
  }
}

/** One attempt of `updateArticle`. Returns null if it has changed nothing, for which `throwUnchanged` knows the reason. */
export async function editArticle(
  db: Queries,
  viewer: CurrentSession,
  slug: string,
  { title, description, body, tagList, autosave = false }: ArticleUpdate,
  { ifVersions = null, ifStatuses = null }: Condition,
  isFirst: boolean,
): Promise<WrittenArticle | null> {
  const base = title === undefined ? null : slugBase(title);
  const slugSuffixed = base === null ? null : slugWithSuffix(base);
  const outcome = await db.row(UPDATE_ARTICLE, {
    ...sessionParameters(viewer),
    slug,
    title: title ?? null,
    description: description ?? null,
    body: body ?? null,
    ...(body === undefined ? NO_TEXT_FACTS : textFacts(body)),
    tagList: tagList === undefined ? null : textArray(tagList),
    autosave,
    slugBase: base,
    slugWanted: isFirst ? base : slugSuffixed,
    slugSuffixed,
    ifVersions: versionArray(ifVersions),
    ifStatuses: ifStatuses && textArray(ifStatuses),
  });
  requireOwned(outcome);
  if (outcome.slug === null) return null;
  const article = articleOf(outcome);
  // What is not published is not in memory.
  const changed = article.status === "published" ? changedByEdit(outcome, slug) : [];
  return { article, articleId: outcome.articleId, changed };
}

const NO_TEXT_FACTS = { excerpt: null, wordCount: null, readingTime: null };

const versionArray = (versions: IfVersions): string | null => versions && `{${versions}}`;

/**
 * Why a write has changed nothing of an own article: it was deleted while the statement waited for it, or does not meet the
 * condition. Only the author gets here, so a 412 shows nobody else a draft. Throws 404.
 * @throws StaleArticle
 */
export async function throwUnchanged(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  { ifVersions = null, ifStatuses = null }: Condition,
): Promise<never> {
  if (ifVersions === null && ifStatuses === null) throw notFound("article");
  throw new StaleArticle((await findArticle(db, viewer.userId, slug)).value.article);
}

function changedByEdit(
  { articleId, slug, tagList, tagsBefore }: ArticleRow & { tagsBefore: string[] | null },
  slugBefore: string,
): string[] {
  const changedTags = new Set(tagList).symmetricDifference(new Set(tagsBefore));
  return [
    topics.article(articleId),
    ...(slug === slugBefore ? [] : [topics.comments(articleId)]),
    ...(changedTags.size === 0 ? [] : [topics.tags, ...[...changedTags].map(topics.tag)]),
  ];
}

/** What a statement found that changes something of the viewer's own: ids, or null if it is not there. */
type Ownership = { viewer: string | null; existed: string | null; owned: boolean | null };

// There is no new title, or the old one has the same slug.
const SAME_SLUG = `(:title::text is null or :title = a.title
                     or :slugBase = case when a.slug_has_suffix then left(a.slug, -${1 + SUFFIX_LENGTH}) else a.slug end)`;
// A draft never has a plain slug, as if it was taken.
const IS_TAKEN = `(a.status <> 'published' or ${isTakenSlug(":slugWanted::text", "a.id")})`;

/** Compared with the row that the statement has locked, so no other edit comes in between. */
const hasVersion = (version: string): string => `(:ifVersions::integer[] is null or ${version} = any(:ifVersions))`;

// A title, a description, a body and a tag list cannot be null, so null means "leave it as it is". The lock makes `before`
// the version that the update replaces, also if the statement had to wait for another edit.
const UPDATE_ARTICLE = write<Ownership & { tagsBefore: string[] | null } & LeftJoined<ArticleRow>>(
  "article_update",
  `with viewer as (${currentUser("*")}),
        target as (select id, author_id from articles where slug = :slug and ${isVisible("articles", VIEWER)}),
        before as (
          select a.id, a.tag_list, a.version, a.status from viewer v cross join articles a
           where a.slug = :slug and a.author_id = v.id for no key update of a),
        a as (
          update articles a
             set title       = coalesce(:title, a.title),
                 description = coalesce(:description, a.description),
                 body        = coalesce(:body, a.body),
                 excerpt     = coalesce(:excerpt, a.excerpt),
                 word_count  = coalesce(:wordCount::integer, a.word_count),
                 reading_time = coalesce(:readingTime::integer, a.reading_time),
                 tag_list    = coalesce(:tagList::text[], a.tag_list),
                 slug        = case when ${SAME_SLUG} then a.slug when ${IS_TAKEN} then :slugSuffixed else :slugWanted end,
                 slug_has_suffix = case
                   when ${SAME_SLUG} then a.slug_has_suffix else :slugWanted <> :slugBase or ${IS_TAKEN} end,
                 version     = a.version + edit.count,
                 is_autosaved = case edit.count when 0 then a.is_autosaved else :autosave::boolean end,
                 updated_at  = case edit.count
                   when 0 then a.updated_at
                   -- Later than before, also at the second edit in a millisecond.
                   else greatest(now(), a.updated_at + interval '1 millisecond') end
            from before b,
                 -- An empty edit is none.
                 (select least(1, num_nonnulls(:title::text, :description::text, :body::text, :tagList::text[])) as count) edit
           where a.id = b.id and ${hasVersion("b.version")}
             and (:ifStatuses::text[] is null or b.status::text = any(:ifStatuses))
          returning a.*)
   select u.id as viewer, t.id as existed, t.author_id = u.id as owned, b.tag_list as "tagsBefore", ${articleColumns(VIEWER)}
     from (select) as one left join viewer u on true left join target t on true
     left join before b on true left join a on true`,
);

/** Throws 401 if the viewer's session has ended, 404 if there is no such thing, 403 if it is somebody else's. */
export function requireOwned<Outcome extends Ownership>(
  outcome: Outcome | undefined,
  resource = "article",
): asserts outcome is Outcome {
  if (outcome?.viewer == null) throw sessionEnded();
  if (outcome.existed === null) throw notFound(resource);
  if (!outcome.owned) throw forbidden(resource);
}

/**
 * Deletes an article with its comments and favourites. Returns what that has changed. Throws 401, 403, 404.
 * @throws StaleArticle if the article has none of these versions
 */
export async function deleteArticle(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  { ifVersions = null, isRemembered }: Deletion,
): Promise<{ changed: readonly string[] }> {
  const parameters = { ...sessionParameters(viewer), slug, ifVersions: versionArray(ifVersions), isRemembered };
  const outcome = await db.row(DELETE_ARTICLE, parameters);
  requireOwned(outcome);
  const { deleted, tagsBefore, isListed } = outcome;
  if (deleted === null) return throwUnchanged(db, viewer, slug, { ifVersions });
  const ownTopics = [topics.article(deleted), topics.comments(deleted)];
  const lists = isListed ? [topics.deletions, ...listsWith(viewer.userId, tagsBefore ?? [])] : [];
  return { changed: [...ownTopics, ...lists] };
}

type Deletion = {
  readonly ifVersions?: IfVersions;
  /** Whether its addresses respond with 410 afterwards, as `DELETED_ARTICLES` says. */
  readonly isRemembered: boolean;
};

type Deleted = Ownership & { deleted: string | null; tagsBefore: string[] | null; isListed: boolean | null };

const DELETE_ARTICLE = write<Deleted>(
  "article_delete",
  `with viewer as (${currentUser("id")}),
        target as (select id, author_id from articles where slug = :slug and ${isVisible("articles", VIEWER)}),
        deleted as (
          delete from articles a using target t, viewer v where a.id = t.id and a.author_id = v.id and ${hasVersion("a.version")}
          returning a.*),
        remembered as (
          insert into former_slugs (slug)
          select d.slug from deleted d where :isRemembered::boolean and ${isPublished("d")}
           union
          select f.slug from deleted d join former_slugs f on f.article_id = d.id
           where :isRemembered::boolean and ${isPublished("d")}
          on conflict (slug) do update set article_id = null)
   select v.id as viewer, t.id as existed, t.author_id = v.id as owned, d.id as deleted, d.tag_list as "tagsBefore",
          ${isPublished("d")} as "isListed"
     from (select) as one left join viewer v on true left join target t on true left join deleted d on true`,
);
