import { expect } from "bun:test";
import type { TestServer } from "./harness.ts";

/**
 * Every count and copy that is kept, against a recount. Each query returns the rows that differ: none.
 */
const RECOUNTS: Record<string, string> = {
  "articles.favorites_count": `
    select a.slug, a.favorites_count, count(f.user_id) as recounted
      from articles a left join favorites f on f.article_id = a.id
     group by a.id having a.favorites_count <> count(f.user_id)`,
  tags: `
    select * from (select name, articles_count from tags) k
      full join (select tag as name, count(*) as recounted from articles, unnest(tag_list) tag group by 1) r using (name)
     where articles_count is distinct from recounted`,
  article_tags: `
    with kept as (select tag, created_at, article_id, author_id from article_tags),
         recounted as (select tag, created_at, id, author_id from articles, unnest(tag_list) tag)
    (select 'too many', * from (table kept except all table recounted) k)
    union all (select 'missing', * from (table recounted except all table kept) r)`,
  author_counts: `
    select * from author_counts k
      full join (select author_id as user_id, count(*) as recounted from articles group by 1) r using (user_id)
     where coalesce(articles_count, 0) <> coalesce(recounted, 0)
        or not exists (select from users u where u.id = user_id)`,
  "author_counts.newest": `
    select k.*, a.id from author_counts k
      left join lateral (select created_at, id from articles where author_id = k.user_id
                          order by created_at desc, id desc limit 1) a on true
     where (a.created_at, a.id) is distinct from (k.newest_created_at, k.newest_id)`,
  reader_counts: `
    select * from reader_counts k
      full join (select user_id, count(*) as recounted from favorites group by 1) r using (user_id)
     where coalesce(favorites_count, 0) <> coalesce(recounted, 0)
        or not exists (select from users u where u.id = user_id)`,
  article_totals: `
    select * from (select sum(articles_count) as kept from article_totals) k,
                  (select count(*) as recounted from articles) r where kept <> recounted`,
  article_blocks: `
    select * from (select *, lag((end_created_at, end_id)) over (order by end_created_at, end_id) as start
                     from article_blocks) b,
           lateral (select count(*) as recounted from articles a
                     where (a.created_at, a.id) < (b.end_created_at, b.end_id)
                       and (b.start is null or (a.created_at, a.id) >= b.start)) r
     where articles_count <> recounted`,
  "favorites.article_created_at and author_id": `
    select f.* from favorites f left join articles a on a.id = f.article_id
     where (a.created_at, a.author_id) is distinct from (f.article_created_at, f.author_id)`,
};

/** Fails with the first rows that differ. */
export async function expectExact(server: TestServer): Promise<void> {
  for (const [what, query] of Object.entries(RECOUNTS)) {
    expect([what, ...(await server.sql.unsafe(query))]).toEqual([what]);
  }
}
