import { violatedConstraint } from "../../db/errors.ts";
import type { Database } from "../../db/pool.ts";
import { textArray, write } from "../../db/statements.ts";
import { forbidden, notFound } from "../../http/errors.ts";
import { userMissing } from "../identity/guards.ts";
import { authorSeenBy } from "../profiles/queries.ts";
import { readByViewer, rowSeen, type Seen, viewerGone } from "../profiles/viewer.ts";
import { SUFFIX_LENGTH, slugBase, slugWithSuffix } from "./rules.ts";
import type { ArticleUpdate, NewArticle } from "./schema.ts";

/** Whether a viewer (SQL, null for nobody) has favourited the article `a`: one probe of an index, none for nobody. */
const favoritedBy = (viewer: string): string => `${viewer} is not null and exists (
    select from favorites where user_id = ${viewer} and article_created_at = a.created_at and article_id = a.id)`;

/** What of an article `a` and its author `u` is not the same for everybody, as SQL. */
type Sight = { readonly favorited: string; readonly favoritesCount: string; readonly author: string };

const sightOf = (viewer: string): Sight => ({
  favorited: favoritedBy(viewer),
  favoritesCount: "a.favorites_count",
  author: authorSeenBy(viewer),
});

/** The members of an article's JSON but for its body. */
function articleMembers({ favorited, favoritesCount, author }: Sight): string {
  return `a.json_members
    || case when ${favorited} then ',"favorited":true,"favoritesCount":' else ',"favorited":false,"favoritesCount":' end
    || ${favoritesCount} || ',"author":' || ${author}`;
}

/**
 * An article without its body as JSON text, as lists show it to a viewer, an SQL expression. Null where `a` is.
 * @param favorited whether it is one of the viewer's favourites, which a list knows of all its articles at once
 */
export const articleInList = (viewer: string, favorited: string): string =>
  `'{' || ${articleMembers({ ...sightOf(viewer), favorited })} || '}'`;

/**
 * What a request for one article is answered with, its body included, as a column. Made here to its last brace: in the
 * application, escaping the body and joining the parts would take a tenth of the request.
 */
function articleAnswer(sight: Sight): string {
  return `'{"article":{' || ${articleMembers(sight)} || ',"body":' || to_json(a.body) || '}}' as answer`;
}

type ArticleAnswer = { answer: string };

/** One article, seen by a viewer. Throws 404. */
export async function findArticle(db: Database, viewerId: string | null, slug: string): Promise<Seen> {
  const article = await rowSeen(db, ARTICLE_BY_SLUG, viewerId, [slug]);
  if (article === undefined) throw notFound("article");
  return { answer: article.answer, viewerGone: article.viewer_gone };
}

const ARTICLE_BY_SLUG = readByViewer<ArticleAnswer & { viewer_gone: boolean }>(
  "article_by_slug",
  (viewer) => `select ${articleAnswer(sightOf(viewer))}, ${viewerGone(viewer)}
     from articles a join users u on u.id = a.author_id
    where a.slug = $1`,
);

/** Publishes. Its path is the title's, or that with a suffix where another article has it. Throws 401. */
export async function insertArticle(
  db: Database,
  authorId: string,
  { title, description, body, tagList }: NewArticle,
): Promise<string> {
  const base = slugBase(title);
  const parameters = [authorId, base, slugWithSuffix(base), title, description, body, textArray(tagList)];
  try {
    const article = await db.row(INSERT_ARTICLE, parameters);
    if (article === undefined) throw userMissing();
    return article.answer;
  } catch (error) {
    // Deleted between the statement's look and its insert.
    if (violatedConstraint(error) === "articles_author_id_fkey") throw userMissing();
    throw error;
  }
}

// The second insert only runs where the first ran into another article of the same path, also one that was published
// in the same moment: the first waits for it.
const INSERT_ARTICLE = write<ArticleAnswer>(
  "article_insert",
  `with viewer as (select id, json_members from users where id = $1::bigint),
        plain as (
          insert into articles (author_id, slug, title, description, body, tag_list)
          select id, $2, $4, $5, $6, $7::text[] from viewer where $2 <> 'feed'
          on conflict (slug) do nothing
          returning *),
        suffixed as (
          insert into articles (author_id, slug, slug_has_suffix, title, description, body, tag_list)
          select id, $3, true, $4, $5, $6, $7::text[] from viewer where not exists (select from plain)
          returning *)
   select ${articleAnswer(sightOf("$1::bigint"))}
     from (select * from plain union all select * from suffixed) a cross join viewer u`,
);

/** Changes what is not undefined. The path follows a changed title. Throws 401, 403, 404. */
export async function updateArticle(
  db: Database,
  viewerId: string,
  slug: string,
  { title, description, body, tagList }: ArticleUpdate,
): Promise<string> {
  const base = title === undefined ? null : slugBase(title);
  for (let attempt = 1; ; attempt++) {
    const suffixed = base === null ? null : slugWithSuffix(base);
    try {
      const outcome = await db.row(UPDATE_ARTICLE, [
        viewerId,
        slug,
        title ?? null,
        description ?? null,
        body ?? null,
        tagList === undefined ? null : textArray(tagList),
        // Lost a race for the plain path: not again.
        attempt === 1 ? base : suffixed,
        suffixed,
        base,
      ]);
      requireOwned(outcome, outcome?.answer != null, "article");
      return (outcome as ArticleAnswer).answer;
    } catch (error) {
      if (violatedConstraint(error) !== "articles_slug_key" || attempt === 3) throw error;
    }
  }
}

/** What a statement on the viewer's own article found: null columns where there was nothing. */
type Ownership = { viewer: string | null; existed: string | null; owned: boolean | null };

// There is no new title, or the old one came to the same path.
const SAME_PATH = `($3 is null or $3 = a.title
                     or $9 = case when a.slug_has_suffix then left(a.slug, -${1 + SUFFIX_LENGTH}) else a.slug end)`;
const IS_TAKEN = "($7 = 'feed' or exists (select from articles other where other.slug = $7 and other.id <> a.id))";

// A title, a description, a body or a tag list cannot be null, so null is free to say "as it is".
const UPDATE_ARTICLE = write<Ownership & { answer: string | null }>(
  "article_update",
  `with viewer as (select id, json_members from users where id = $1::bigint),
        target as (select id, author_id from articles where slug = $2),
        a as (
          update articles a
             set title       = coalesce($3, a.title),
                 description = coalesce($4, a.description),
                 body        = coalesce($5, a.body),
                 tag_list    = coalesce($6::text[], a.tag_list),
                 slug        = case when ${SAME_PATH} then a.slug when ${IS_TAKEN} then $8 else $7 end,
                 slug_has_suffix = case when ${SAME_PATH} then a.slug_has_suffix else $7 <> $9 or ${IS_TAKEN} end,
                 updated_at  = case
                   when num_nonnulls($3, $4, $5, $6) = 0 then a.updated_at
                   -- Moves with every edit, also with two in a millisecond.
                   else greatest(now(), a.updated_at + interval '1 millisecond') end
            from target t, viewer v
           where a.id = t.id and a.author_id = v.id
          returning a.*)
   select u.id as viewer, t.id as existed, t.author_id = u.id as owned, ${articleAnswer(sightOf("$1::bigint"))}
     from (select) as one left join viewer u on true left join target t on true left join a on true`,
);

/** Throws 401, 404 or 403, in this order; 404 too where the thing went while we waited for it. */
export function requireOwned(outcome: Ownership | undefined, done: boolean, resource: string): void {
  if (outcome?.viewer == null) throw userMissing();
  if (outcome.existed === null) throw notFound(resource);
  if (!outcome.owned) throw forbidden(resource);
  if (!done) throw notFound(resource);
}

/** Deletes, with its comments and favourites. Throws 401, 403, 404. */
export async function deleteArticle(db: Database, viewerId: string, slug: string): Promise<void> {
  const outcome = await db.row(DELETE_ARTICLE, [viewerId, slug]);
  requireOwned(outcome, outcome?.deleted != null, "article");
}

const DELETE_ARTICLE = write<Ownership & { deleted: string | null }>(
  "article_delete",
  `with viewer as (select id from users where id = $1::bigint),
        target as (select id, author_id from articles where slug = $2),
        deleted as (
          delete from articles a using target t, viewer v where a.id = t.id and a.author_id = v.id returning a.id)
   select v.id as viewer, t.id as existed, t.author_id = v.id as owned, d.id as deleted
     from (select) as one left join viewer v on true left join target t on true left join deleted d on true`,
);

/** Favourites for the viewer. Idempotent. Throws 401, 404. Returns the article as JSON text. */
export const favorite = (db: Database, viewerId: string, slug: string): Promise<string> =>
  changeFavorite(db, viewerId, slug, true);

/** Takes it back. Idempotent. Throws 401, 404. Returns the article as JSON text. */
export const unfavorite = (db: Database, viewerId: string, slug: string): Promise<string> =>
  changeFavorite(db, viewerId, slug, false);

async function changeFavorite(db: Database, viewerId: string, slug: string, favorited: boolean): Promise<string> {
  try {
    const outcome = await db.row(favorited ? FAVORITE : UNFAVORITE, [viewerId, slug]);
    if (outcome?.viewer == null) throw userMissing();
    if (outcome.answer === null) throw notFound("article");
    return outcome.answer;
  } catch (error) {
    // Either was deleted between the statement's look and its insert.
    if (violatedConstraint(error) === "favorites_user_id_fkey") throw userMissing();
    if (violatedConstraint(error) === "favorites_article_fkey") throw notFound("article");
    throw error;
  }
}

type FavoriteOutcome = { viewer: string | null; answer: string | null };

// The article is locked and so read as it is now, not as it was when the statement began: of many favourites at once,
// each answers with the count that it left. The outer select sees it from before the change, so what the statement
// itself changed is added. The viewer is locked first, as whoever deletes an account locks that before its favourites.
const VIEWER_AND_ARTICLE = `viewer as (select id from users where id = $1::bigint for key share),
        a as (
          select a.* from viewer v cross join articles a where a.slug = $2 for no key update of a)`;

const favoriteOutcome = (favorited: string, favoritesCount: string): string =>
  `select v.id as viewer, ${articleAnswer({ favorited, favoritesCount, author: authorSeenBy("$1::bigint") })}
     from (select) as one left join viewer v on true
     left join a on true left join users u on u.id = a.author_id`;

const FAVORITE = write<FavoriteOutcome>(
  "favorite",
  `with ${VIEWER_AND_ARTICLE},
        added as (
          insert into favorites (user_id, article_id, article_created_at, author_id)
          select v.id, a.id, a.created_at, a.author_id from viewer v, a
          on conflict do nothing
          returning article_id)
   ${favoriteOutcome("true", "(a.favorites_count + (select count(*) from added))")}`,
);

const UNFAVORITE = write<FavoriteOutcome>(
  "unfavorite",
  `with ${VIEWER_AND_ARTICLE},
        removed as materialized (select take_favorite(v.id, a.created_at, a.id) as found from viewer v, a)
   ${favoriteOutcome("false", "(a.favorites_count - (select count(*) from removed where found))")}`,
);
