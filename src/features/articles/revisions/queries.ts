import type { Database } from "../../../db/pool.ts";
import { PURGE_BATCH } from "../../../db/purge.ts";
import { type LeftJoined, type RowOf, rowMapper } from "../../../db/rows.ts";
import { read, write } from "../../../db/statements.ts";
import { pageOf } from "../../../http/cursor.ts";
import { notFound } from "../../../http/errors.ts";
import { type DiffPart, diffOf } from "../../../markup/diff.ts";
import { findArticle } from "../queries.ts";
import {
  type Diff,
  Revision,
  RevisionCursor,
  type RevisionList,
  RevisionPreview,
  type RevisionsPage,
} from "./schema.ts";

// Only the author can see the revisions of an article. For everybody else, it does not exist.

const PREVIEW = `r.number, r.title, r.description, r.tag_list as "tagList", r.created_at as "createdAt",
          r.replaced_at as "replacedAt"`;

type PreviewRow = RowOf<RevisionPreview>;

const previewOf: (row: PreviewRow) => RevisionPreview = rowMapper(RevisionPreview);
const revisionOf: (row: RowOf<Revision>) => Revision = rowMapper(Revision);

/** The revisions of an article after a position, the newest first. Throws 404. */
export async function listRevisions(
  db: Database,
  authorId: string,
  slug: string,
  { limit, cursor }: RevisionsPage,
): Promise<RevisionList> {
  const before = cursor?.number ?? "9223372036854775807";
  const rows = await db.rows(REVISIONS, { authorId, slug, before, limit });
  if (rows.length === 0) throw notFound("article");
  const found = rows.flatMap((row) => (row.number === null ? [] : [row]));
  const { page, nextCursor } = pageOf(found, limit, ({ number }) => RevisionCursor.after({ number: String(number) }));
  return { revisions: page.map(previewOf), nextCursor };
}

// No row if there is no such article; a single row of nulls if it has no revisions.
const REVISIONS = read<LeftJoined<PreviewRow>>(
  "revisions",
  `select ${PREVIEW}
     from (select id from articles where slug = :slug and author_id = :authorId::bigint) a
     left join lateral (
            select * from article_revisions where article_id = a.id and number < :before::bigint
             order by number desc limit :limit::bigint + 1) r on true
    order by r.number desc`,
);

/** A revision of an article. Throws 404. @param number as text; other text is the number of none */
export async function findRevision(db: Database, authorId: string, slug: string, number: string): Promise<Revision> {
  const row = await db.row(REVISION, { authorId, slug, number: /^[1-9][0-9]{0,8}$/.test(number) ? number : "0" });
  if (row === undefined) throw notFound("article");
  if (row.number === null) throw notFound("revision");
  return revisionOf(row);
}

// A body may have a megabyte. One that is missing is that of the next revision that has one, or of the article.
const REVISION = read<LeftJoined<RowOf<Revision>>>(
  "revision",
  `select ${PREVIEW},
          coalesce(
            (select body from article_revisions
              where article_id = r.article_id and number >= r.number and body is not null order by number limit 1),
            a.body) as body
     from articles a left join article_revisions r on r.article_id = a.id and r.number = :number::bigint
    where a.slug = :slug and a.author_id = :authorId::bigint`,
  "slow",
);

/** How a revision differs from another one, or from the article as it is now (`to` is null). Throws 404. */
export async function compareRevisions(
  db: Database,
  authorId: string,
  slug: string,
  from: string,
  to: number | null,
): Promise<Diff> {
  const [before, after] = await Promise.all([
    findRevision(db, authorId, slug, from),
    to === null
      ? findArticle(db, authorId, slug).then(({ value }) => value.article)
      : findRevision(db, authorId, slug, String(to)),
  ]);
  const [title, description, body] = await Promise.all([
    diffOf(before.title, after.title),
    diffOf(before.description, after.description),
    diffOf(before.body, after.body),
  ]);
  return { from: before.number, to, title, description, body, tagList: diffOfTags(before.tagList, after.tagList) };
}

function diffOfTags(before: readonly string[], after: readonly string[]): DiffPart[] {
  return [
    ...before.map((text): DiffPart => ({ kind: after.includes(text) ? "same" : "removed", text })),
    ...after.filter((text) => !before.includes(text)).map((text): DiffPart => ({ kind: "added", text })),
  ];
}

/** How many revisions of an article are kept, and how long each. */
export type RevisionLimits = { readonly revisionsMax: number; readonly revisionsMaxAgeMs: number };

/** Removes revisions that are too old, at most 10,000. Returns how many. */
export async function purgeOldRevisions(db: Database, { revisionsMaxAgeMs }: RevisionLimits): Promise<number> {
  return (await db.row(REVISIONS_PURGE_OLD, [revisionsMaxAgeMs]))?.purged ?? 0;
}

const REVISIONS_PURGE_OLD = write<{ purged: number }>(
  "revisions_purge_old",
  `with purged as (
     delete from article_revisions where (article_id, number) in (
       select article_id, number from article_revisions
        where replaced_at < now() - make_interval(secs => $1::double precision / 1000)
        order by replaced_at limit ${PURGE_BATCH} for update skip locked)
     returning number)
   select count(*)::integer as purged from purged`,
);

/** Removes the oldest revisions of articles that have too many, at most 10,000. Returns how many. */
export async function purgeExcessRevisions(db: Database, { revisionsMax }: RevisionLimits): Promise<number> {
  return (await db.row(REVISIONS_PURGE_EXCESS, [revisionsMax]))?.purged ?? 0;
}

// A revision is one too many if there is another one with a number that much higher, as the numbers have no gaps.
const REVISIONS_PURGE_EXCESS = write<{ purged: number }>(
  "revisions_purge_excess",
  `with purged as (
     delete from article_revisions where (article_id, number) in (
       select old.article_id, old.number
         from article_revisions newer
         join article_revisions old on old.article_id = newer.article_id and old.number = newer.number - $1::integer
        where newer.number > $1::integer
        limit ${PURGE_BATCH} for update of old skip locked)
     returning number)
   select count(*)::integer as purged from purged`,
);
