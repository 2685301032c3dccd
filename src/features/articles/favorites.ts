import type { Database } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { batch } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { topics } from "../../memory/topics.ts";
import {
  type CurrentSession,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import { bodyUpTo, FAST_BODY_SIZE_MAX, findArticle, type RowUpToSize, type WrittenArticle } from "./queries.ts";
import { type ArticleRow, articleColumns, articleOf, isPublished } from "./rows.ts";

/** Makes a published article a favourite of the viewer. Idempotent. Throws 401, 404. */
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
  const { articleId } = outcome;
  // Also if it was one before, which this server may not know yet: the next read must agree with this response.
  return { article, articleId, changed: [topics.article(articleId), topics.favorites(viewer.userId)] };
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
              select * from articles where slug = item.slug and ${isPublished("articles")} and viewer is not null
                 for no key update) article on true),
   added as (
     insert into favorites (user_id, article_id, article_published_at, author_id)
     select viewer, id, published_at, author_id from a where favorited and id is not null
     on conflict do nothing
     returning article_id),
   removed as materialized (
     select article_id
       from (select array_agg(row(viewer, id, published_at, author_id, true)::favorites) as unwanted
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
