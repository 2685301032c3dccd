import { violatedConstraint } from "../../db/errors.ts";
import type { Database, Queries } from "../../db/pool.ts";
import type { LeftJoined } from "../../db/rows.ts";
import { batch, textArray } from "../../db/statements.ts";
import { notFound } from "../../http/errors.ts";
import { topics } from "../../memory/topics.ts";
import {
  type CurrentSession,
  SESSION_TYPES,
  sessionEnded,
  sessionParameters,
  userOfItem,
} from "../identity/current-session.ts";
import type { Seen } from "../profiles/shared-reads.ts";
import { readForViewer, rowsForViewer, slowForViewer, viewerGone } from "../profiles/viewer.ts";
import { articleAtSlug, type Place, requireHere } from "./addresses.ts";
import { type ArticleRow, articleColumns, articleOf, seenArticles } from "./rows.ts";
import { slugBase, slugWithSuffix } from "./rules.ts";
import type { Article, NewArticle } from "./schema.ts";
import { textFacts } from "./text-facts.ts";
import { ARTICLE_VERSION } from "./versions.ts";

/**
 * One article, as the viewer sees it, who may be the author of a draft. Throws 404, 410 if it was deleted, and `Moved` if it
 * has another slug now.
 */
export async function findArticle(
  db: Database,
  viewerId: string | null,
  slug: string,
): Promise<Seen<{ article: Article }>> {
  const [small] = await rowsForViewer(db, ARTICLE_BY_SLUG, viewerId, { slug, bodySizeMax: FAST_BODY_SIZE_MAX });
  const bodySizeMax = Number.MAX_SAFE_INTEGER;
  const row =
    small?.body === null ? (await rowsForViewer(db, LARGE_ARTICLE, viewerId, { slug, bodySizeMax }))[0] : small;
  requireHere(slug, row as Place | undefined);
  if (row == null || row.slug === null) throw notFound("article");
  const { articleId: id, rowVersion: version, viewerGone } = row;
  const article = articleOf(row as ArticleRow);
  const isPrivate = article.status !== "published";
  return {
    value: { article },
    isPrivate,
    viewerGone,
    version: { id, version },
    articleVersion: article.version,
    ...seenArticles([row]),
  };
}

/** In bytes: what the connection that other reads share may carry at a time. */
export const FAST_BODY_SIZE_MAX = 64 * 1024;

/** SQL for the body, or null if it has more bytes. PostgreSQL knows the size of a body without reading it. */
export const bodyUpTo = (sizeMax: string): string =>
  `case when octet_length(a.body) <= ${sizeMax} then a.body end as body`;

export type RowUpToSize = Omit<ArticleRow, "body"> & { body: string | null };

const ARTICLE_BY_SLUG = readForViewer<LeftJoined<RowUpToSize & { rowVersion: string }> & { viewerGone: boolean }>(
  "article_by_slug",
  (viewer) => `select ${articleColumns(viewer, { body: bodyUpTo(":bodySizeMax::bigint") })},
             ${ARTICLE_VERSION} as "rowVersion", ${viewerGone(viewer)}
     from (${articleAtSlug(viewer, "a.xmin, a.*")}) a left join users u on u.id = a.author_id`,
);

const LARGE_ARTICLE = slowForViewer(ARTICLE_BY_SLUG);

/** An article after a write, and what the write has changed. */
export type WrittenArticle = {
  readonly article: Article;
  readonly articleId: string;
  readonly changed: readonly string[];
};

/** Publishes an article. Its slug is the title's, with a suffix if another article has that. Throws 401. */
export async function insertArticle(
  db: Queries,
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
    return { article: articleOf(article), articleId: article.articleId, changed: listsWith(article.userId, tagList) };
  } catch (error) {
    // The account was deleted after the statement had read it.
    if (violatedConstraint(error) === "articles_author_id_fkey") throw sessionEnded();
    throw error;
  }
}

// The second insert takes what the first left out: where the slug is taken, also by an article that had it before, or by one
// that is published at the same moment, for which the first insert waits. Both begin with the lowest slug, so that two batches
// cannot wait for each other. A new article has no favourites, and users cannot follow themselves, so the statement
// needs no look-ups for the viewer.
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
export const listsWith = (authorId: string, tags: readonly string[]): string[] => [
  topics.articles,
  topics.author(authorId),
  ...(tags.length === 0 ? [] : [topics.tags, ...tags.map(topics.tag)]),
];
