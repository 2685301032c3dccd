import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { batch, textArray, write } from "../../db/statements.ts";
import { forbidden, notFound } from "../../http/errors.ts";
import { topics } from "../../memory/topics.ts";
import {
  type CurrentSession,
  currentUser,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import type { Seen } from "../profiles/shared-reads.ts";
import { readForViewer, rowsForViewer, slowForViewer, VIEWER, viewerGone } from "../profiles/viewer.ts";
import { articleAtSlug, requireHere } from "./addresses.ts";
import { type ArticleRow, articleColumns, articleOf, isPublished, seenArticles } from "./rows.ts";
import { SUFFIX_LENGTH, slugBase, slugWithSuffix } from "./rules.ts";
import type { Article, ArticleUpdate, NewArticle } from "./schema.ts";
import { textFacts } from "./text-facts.ts";
import { ARTICLE_VERSION } from "./versions.ts";

/** One article, as the viewer sees it. Throws 404, 410 if it was deleted, and `Moved` if it has another slug now. */
export async function findArticle(
  db: Database,
  viewerId: string | null,
  slug: string,
): Promise<Seen<{ article: Article }>> {
  const [small] = await rowsForViewer(db, ARTICLE_BY_SLUG, viewerId, { slug, bodySizeMax: FAST_BODY_SIZE_MAX });
  const bodySizeMax = Number.MAX_SAFE_INTEGER;
  const row =
    small?.body === null ? (await rowsForViewer(db, LARGE_ARTICLE, viewerId, { slug, bodySizeMax }))[0] : small;
  requireHere(slug, row?.slug as string | null | undefined);
  if (row == null || row.slug === null) throw notFound("article");
  const { articleId: id, version, viewerGone } = row;
  const value = { article: articleOf(row as ArticleRow) };
  return { value, viewerGone, version: { id, version }, ...seenArticles([row]) };
}

/** In bytes: what the connection that other reads share may carry at a time. */
const FAST_BODY_SIZE_MAX = 64 * 1024;

/** SQL for the body, or null if it has more bytes. PostgreSQL knows the size of a body without reading it. */
const bodyUpTo = (sizeMax: string): string => `case when octet_length(a.body) <= ${sizeMax} then a.body end as body`;

type RowUpToSize = Omit<ArticleRow, "body"> & { body: string | null };

const ARTICLE_BY_SLUG = readForViewer<LeftJoined<RowUpToSize & { version: string }> & { viewerGone: boolean }>(
  "article_by_slug",
  (viewer) => `select ${articleColumns(viewer, { body: bodyUpTo(":bodySizeMax::bigint") })},
             ${ARTICLE_VERSION} as version, ${viewerGone(viewer)}
     from (${articleAtSlug(viewer, "a.xmin, a.*")}) a left join users u on u.id = a.author_id`,
);

const LARGE_ARTICLE = slowForViewer(ARTICLE_BY_SLUG);

/** An article after a write, and what the write has changed. */
type WrittenArticle = { readonly article: Article; readonly changed: readonly string[] };

/** Publishes an article. Its slug is the title's, with a suffix if another article has that. Throws 401. */
export async function insertArticle(
  db: Database,
  author: CurrentSession,
  { title, description, body, tagList }: NewArticle,
): Promise<WrittenArticle> {
  const slug = slugBase(title);
  try {
    const article = await db.row(INSERT_ARTICLE, {
      ...sessionParameters(author),
      slug,
      slugWithSuffix: slugWithSuffix(slug),
      title,
      description,
      body,
      ...textFacts(body),
      tagList: textArray(tagList),
    });
    if (article?.slug == null) throw sessionEnded();
    return { article: articleOf(article), changed: listsWith(article.userId, tagList) };
  } catch (error) {
    // The account was deleted after the statement had read it.
    if (violatedConstraint(error) === "articles_author_id_fkey") throw sessionEnded();
    throw error;
  }
}

// A slug that another article had before is taken, too. The second insert takes what the first left out: where the slug is taken, also by an article that is published at the same
// moment, for which the first insert waits. Both begin with the lowest slug, so that two batches cannot wait for each other. A
// new article has no favourites, and users cannot follow themselves, so the statement needs no look-ups for the viewer.
const INSERT_ARTICLE = batch<LeftJoined<ArticleRow>>(
  "article_insert",
  {
    types: {
      ...SESSION_TYPES,
      slug: "text",
      slugWithSuffix: "text",
      title: "text",
      description: "text",
      body: "text",
      excerpt: "text",
      wordCount: "integer",
      readingTime: "integer",
      tagList: "text",
    },
    key: ["slug"],
  },
  `u as materialized (
     select item.place, item.slug as slug_base, item."slugWithSuffix" as slug_suffixed, item.title as new_title,
            item.description as new_description, item.body as new_body, item.excerpt as new_excerpt,
            item."wordCount" as new_word_count, item."readingTime" as new_reading_time, item."tagList"::text[] as new_tag_list,
            nextval('articles_id_seq') as article_id, id, username, bio, image
       from item join lateral (${userOfItem("id, username, bio, image")}) u on true),
   plain as (
     insert into articles (id, author_id, slug, title, description, body, excerpt, word_count, reading_time, tag_list)
     overriding system value
     select article_id, u.id, slug_base, new_title, new_description, new_body, new_excerpt, new_word_count, new_reading_time,
            new_tag_list
       from u where slug_base <> 'feed' and not exists (
              select from former_slugs f where f.slug = slug_base and f.article_id is not null)
      order by slug_base
     on conflict (slug) do nothing
     returning *),
   suffixed as (
     insert into articles (id, author_id, slug, slug_has_suffix, title, description, body, excerpt, word_count, reading_time,
       tag_list)
     overriding system value
     select article_id, u.id, slug_suffixed, true, new_title, new_description, new_body, new_excerpt, new_word_count,
            new_reading_time, new_tag_list
       from u where article_id not in (select id from plain) order by slug_suffixed
     returning *)
   select place, ${articleColumns(null)}
     from u join (select * from plain union all select * from suffixed) a on a.id = u.article_id`,
);

/** The lists in which an article appears when it is published, or from which it disappears when it is deleted. */
const listsWith = (authorId: string, tags: readonly string[]): string[] => [
  topics.articles,
  topics.author(authorId),
  ...(tags.length === 0 ? [] : [topics.tags, ...tags.map(topics.tag)]),
];

/**
 * Changes what is not undefined. The slug follows a changed title. A trigger keeps the version before. Throws 401, 403, 404.
 */
export async function updateArticle(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  { title, description, body, tagList, autosave = false }: ArticleUpdate,
): Promise<WrittenArticle> {
  const facts = body === undefined ? NO_TEXT_FACTS : textFacts(body);
  const base = title === undefined ? null : slugBase(title);
  for (let attempt = 1; ; attempt++) {
    const slugSuffixed = base === null ? null : slugWithSuffix(base);
    try {
      const outcome = await db.row(UPDATE_ARTICLE, {
        ...sessionParameters(viewer),
        slug,
        title: title ?? null,
        description: description ?? null,
        body: body ?? null,
        ...facts,
        tagList: tagList === undefined ? null : textArray(tagList),
        autosave,
        slugBase: base,
        // An edit that lost a race for the plain slug does not try it again.
        slugWanted: attempt === 1 ? base : slugSuffixed,
        slugSuffixed,
      });
      requireOwned(outcome);
      // The article was deleted while the statement waited for it.
      if (outcome.slug === null) throw notFound("article");
      return { article: articleOf(outcome), changed: changedByEdit(outcome, slug) };
    } catch (error) {
      if (violatedConstraint(error) !== "articles_slug_key" || attempt === 3) throw error;
    }
  }
}

const NO_TEXT_FACTS = { excerpt: null, wordCount: null, readingTime: null };

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
const IS_TAKEN = `(:slugWanted::text = 'feed'
                     or exists (select from articles other where other.slug = :slugWanted and other.id <> a.id)
                     or exists (select from former_slugs f where f.slug = :slugWanted and f.article_id <> a.id))`;

// A title, a description, a body and a tag list cannot be null, so null means "leave it as it is". The lock makes `before`
// the version that the update replaces, also if the statement had to wait for another edit.
const UPDATE_ARTICLE = write<Ownership & { tagsBefore: string[] | null } & LeftJoined<ArticleRow>>(
  "article_update",
  `with viewer as (${currentUser("*")}),
        target as (select id, author_id from articles where slug = :slug),
        before as (
          select a.id, a.tag_list from viewer v cross join articles a
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
           where a.id = b.id
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
 * @param isRemembered whether its addresses respond with 410 afterwards, as `DELETED_ARTICLES` says
 */
export async function deleteArticle(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  isRemembered = false,
): Promise<{ changed: readonly string[] }> {
  const outcome = await db.row(DELETE_ARTICLE, { ...sessionParameters(viewer), slug, isRemembered });
  requireOwned(outcome);
  const { deleted, tagsBefore } = outcome;
  if (deleted === null) throw notFound("article");
  const ownTopics = [topics.article(deleted), topics.comments(deleted), topics.deletions];
  return { changed: [...ownTopics, ...listsWith(viewer.userId, tagsBefore ?? [])] };
}

const DELETE_ARTICLE = write<Ownership & { deleted: string | null; tagsBefore: string[] | null }>(
  "article_delete",
  `with viewer as (${currentUser("id")}),
        target as (select id, author_id from articles where slug = :slug),
        deleted as (
          delete from articles a using target t, viewer v where a.id = t.id and a.author_id = v.id
          returning a.*),
        remembered as (
          insert into former_slugs (slug)
          select d.slug from deleted d where :isRemembered::boolean and ${isPublished("d")}
           union
          select f.slug from deleted d join former_slugs f on f.article_id = d.id
           where :isRemembered::boolean and ${isPublished("d")}
          on conflict (slug) do update set article_id = null)
   select v.id as viewer, t.id as existed, t.author_id = v.id as owned, d.id as deleted, d.tag_list as "tagsBefore"
     from (select) as one left join viewer v on true left join target t on true left join deleted d on true`,
);

/** Makes an article a favourite of the viewer. Idempotent. Throws 401, 404. */
export const favorite = (db: Database, viewer: CurrentSession, slug: string): Promise<WrittenArticle> =>
  changeFavorite(db, viewer, slug, true);

/** Makes it a favourite no longer. Idempotent. Throws 401, 404. */
export const unfavorite = (db: Database, viewer: CurrentSession, slug: string): Promise<WrittenArticle> =>
  changeFavorite(db, viewer, slug, false);

async function changeFavorite(
  db: Database,
  viewer: CurrentSession,
  slug: string,
  favorited: boolean,
): Promise<WrittenArticle> {
  const outcome = await db.row(FAVORITE, { ...sessionParameters(viewer), slug, favorited });
  if (outcome?.viewer == null) throw sessionEnded();
  if (outcome.slug === null) throw notFound("article");
  // A batch of favourites does not return an article of 1 MiB to each of them.
  const article =
    outcome.body === null
      ? (await findArticle(db, viewer.userId, slug)).value.article
      : articleOf(outcome as ArticleRow);
  // Also if it was one before, which this server may not know yet: the next read must agree with this response.
  return { article, changed: [topics.article(outcome.articleId), topics.favorites(viewer.userId)] };
}

type FavoriteOutcome = { viewer: string | null } & LeftJoined<RowUpToSize>;

// The locks make the statement read the latest versions, not those from when it began. They are taken in the order of the
// slugs, and each viewer's before that of the article, because the deletion of a user locks the user before the favourites.
// The last select sees the articles before the changes of the batch, so it adds them up.
const FAVORITE = batch<FavoriteOutcome>(
  "favorite",
  { types: { ...SESSION_TYPES, slug: "text", favorited: "boolean" }, key: ["viewerId", "slug"] },
  `a as materialized (
     select item.place, item.favorited, viewer, article.*
       from (select * from item order by slug) item
            left join lateral (${userOfItem("id as viewer", "for key share")}) v on true
            left join lateral (
              select * from articles where slug = item.slug and viewer is not null for no key update) article on true),
   added as (
     insert into favorites (user_id, article_id, article_published_at, author_id)
     select viewer, id, published_at, author_id from a where favorited and id is not null
     on conflict do nothing
     returning article_id),
   removed as materialized (
     select article_id
       from (select array_agg(row(viewer, id, published_at, author_id)::favorites) as unwanted
               from a where not favorited and id is not null) r
            cross join lateral remove_favorites(unwanted)
      where unwanted is not null)
   select place, viewer,
          ${articleColumns("viewer", {
            body: bodyUpTo(`${FAST_BODY_SIZE_MAX}`),
            favorited: "a.favorited",
            favoritesCount: `(a.favorites_count + (select count(*) from added where article_id = a.id)
              - (select count(*) from removed where article_id = a.id))::integer`,
          })}
     from a left join users u on u.id = a.author_id`,
);
