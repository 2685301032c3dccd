-- How many published articles there are: by each author, and in all. Both tables are derived from articles.

-- Also the newest article of each author: the feed reads first who of a thousand followed authors published last, and
-- then only the articles of those. An author without articles has no row.
create table author_counts (
  -- No foreign key: the triggers below add and remove the rows.
  user_id             bigint not null constraint author_counts_pkey primary key,
  articles_count      bigint not null,
  newest_published_at timestamptz(3) not null,
  newest_id           bigint not null,
  constraint author_counts_positive check (articles_count > 0)
) with (
  -- Room for the next version of a row (HOT updates).
  fillfactor = 70
);

-- The number of all articles is the sum of 32 rows. Each connection counts in one of them; with a single row, every
-- publication would wait until the one before it is on disk. A single row may be negative: one connection publishes an
-- article, and another deletes it.
create table article_totals (
  slot           integer not null constraint article_totals_pkey primary key,
  articles_count bigint not null default 0
) with (fillfactor = 50);
insert into article_totals (slot) select generate_series(0, 31);

-- Once per statement, as several articles are published together.
create function articles_counted() returns trigger language plpgsql as $$
begin
  insert into author_counts as c (user_id, articles_count, newest_published_at, newest_id)
  select author_id, count(*), max(published_at), (array_agg(id order by published_at desc, id desc))[1]
    from added where status = 'published' group by 1 order by 1
  on conflict (user_id) do update set
    articles_count = c.articles_count + excluded.articles_count,
    newest_published_at = greatest(c.newest_published_at, excluded.newest_published_at),
    newest_id = case
      when (c.newest_published_at, c.newest_id) > (excluded.newest_published_at, excluded.newest_id) then c.newest_id
      else excluded.newest_id end;
  update article_totals t
     set articles_count = t.articles_count + (select count(*) from added where status = 'published')
   where t.slot = pg_backend_pid() % 32;
  return null;
end $$;
-- Fires before articles_tagged (0007_tags.sql): triggers of one event fire in the order of their names.
create trigger articles_counted after insert on articles
  referencing new table as added for each statement execute function articles_counted();

create function article_uncounted() returns trigger language plpgsql as $$
declare
  newest record;
begin
  -- Locked by a statement of its own: the next statement then sees what the previous holder of the lock published.
  perform from author_counts where user_id = old.author_id for no key update;
  select a.published_at, a.id into newest
    from articles a where a.author_id = old.author_id and a.status = 'published' order by a.published_at desc, a.id desc limit 1;
  if found then
    update author_counts c
       set articles_count = c.articles_count - 1,
           newest_published_at = newest.published_at,
           newest_id = newest.id
     where c.user_id = old.author_id;
  else
    delete from author_counts where user_id = old.author_id;
  end if;
  update article_totals t set articles_count = t.articles_count - 1 where t.slot = pg_backend_pid() % 32;
  return null;
end $$;
-- Fires before article_untagged (0007_tags.sql).
create trigger article_uncounted after delete on articles
  for each row when (old.status = 'published') execute function article_uncounted();
-- Fires before article_tags_edited, as the next one.
create trigger article_hidden after update of status on articles
  for each row when (old.status = 'published' and new.status <> 'published') execute function article_uncounted();

-- What articles_counted does, for an article that existed before.
create function article_counted() returns trigger language plpgsql as $$
begin
  insert into author_counts as c (user_id, articles_count, newest_published_at, newest_id)
  values (new.author_id, 1, new.published_at, new.id)
  on conflict (user_id) do update set
    articles_count = c.articles_count + 1,
    newest_published_at = greatest(c.newest_published_at, excluded.newest_published_at),
    newest_id = case
      when (c.newest_published_at, c.newest_id) > (excluded.newest_published_at, excluded.newest_id) then c.newest_id
      else excluded.newest_id end;
  update article_totals t set articles_count = t.articles_count + 1 where t.slot = pg_backend_pid() % 32;
  return null;
end $$;
create trigger article_published after update of status on articles
  for each row when (old.status <> 'published' and new.status = 'published') execute function article_counted();

-- Fires after the cascades of the same deletion, which still count down: their triggers are named "RI_…".
create function author_counts_removed() returns trigger language plpgsql as $$
begin
  delete from author_counts where user_id = old.id;
  return null;
end $$;
create trigger author_counts_removed after delete on users
  for each row execute function author_counts_removed();
