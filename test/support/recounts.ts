import { expect } from "bun:test";
import type { TestServer } from "./harness.ts";

/** Every maintained count and copy, compared with a recount. Each query returns the rows that differ. */
const RECOUNTS: Record<string, string> = {
  "articles.favorites_count": `
    select a.slug, a.favorites_count, count(f.user_id) as recounted
      from articles a left join favorites f on f.article_id = a.id
     group by a.id having a.favorites_count <> count(f.user_id)`,
  "articles.published_at and publish_at": `
    select slug, status, published_at, publish_at from articles
     where (status = 'published' and published_at is null) or (status = 'scheduled') <> (publish_at is not null)`,
  tags: `
    select * from (select name, articles_count from tags) k
      full join (select tag as name, count(*) as recounted from articles, unnest(tag_list) tag
                  where status = 'published' group by 1) r using (name)
     where articles_count is distinct from recounted`,
  article_tags: `
    with kept as (select tag, published_at, article_id, author_id from article_tags),
         recounted as (select tag, published_at, id, author_id from articles, unnest(tag_list) tag
                        where status = 'published')
    (select 'too many', * from (table kept except all table recounted) k)
    union all (select 'missing', * from (table recounted except all table kept) r)`,
  author_counts: `
    select * from author_counts k
      full join (select author_id as user_id, count(*) as recounted from articles
                  where status = 'published' group by 1) r using (user_id)
     where coalesce(articles_count, 0) <> coalesce(recounted, 0)
        or not exists (select from users u where u.id = user_id)`,
  "author_counts.newest": `
    select k.*, a.id from author_counts k
      left join lateral (select published_at, id from articles where author_id = k.user_id and status = 'published'
                          order by published_at desc, id desc limit 1) a on true
     where (a.published_at, a.id) is distinct from (k.newest_published_at, k.newest_id)`,
  article_totals: `
    select * from (select sum(articles_count) as kept from article_totals) k,
                  (select count(*) as recounted from articles where status = 'published') r where kept <> recounted`,
  // What waits in the queue may differ.
  article_search: `
    select id, s.article_id from (select * from articles where status = 'published') a full join article_search s on s.article_id = a.id
     where coalesce(a.id, s.article_id) not in (select article_id from search_queue)
       and (a.id is null or s.article_id is null
            or not tsvector_to_array(s.head) @> (select array_agg('_t' || tag) from unnest(a.tag_list) as tag)
            or '_f' || length(a.favorites_count::text) <> all (tsvector_to_array(s.head) || '_f1'::text))`,
  "favorites.article_published_at, author_id and is_published": `
    select f.* from favorites f left join articles a on a.id = f.article_id
     where (a.published_at, a.author_id, a.status = 'published')
           is distinct from (f.article_published_at, f.author_id, f.is_published)`,
};

/** Fails with the first rows that differ from a recount. */
export async function expectExact(server: TestServer): Promise<void> {
  for (const [what, query] of Object.entries(RECOUNTS)) {
    expect([what, ...(await server.sql.unsafe(query))]).toEqual([what]);
  }
}
