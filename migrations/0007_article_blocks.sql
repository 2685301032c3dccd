-- Blocks of articles that are counted, by which a page deep in the list of all is found without walking there
-- (docs/decisions/0006-article-blocks.md).

-- A block are the articles between the end of the block before it, or the very first article, and its own end, which is
-- the key of the first article after it. Every article that is older than the newest end is in one; those since then, an
-- hour's at least, are in none. So publishing, which happens at the newest end, has nothing to count here.
create table article_blocks (
  end_created_at timestamptz(3) not null,
  end_id         bigint not null,
  articles_count bigint not null,
  constraint article_blocks_pkey primary key (end_created_at, end_id),
  constraint article_blocks_count_not_negative check (articles_count >= 0)
) with (fillfactor = 70);

-- Closes blocks of so many articles, at most a hundred at a time, of what is older than an hour; says how many. While it
-- counts, some 0.5 ms a block, nobody can publish or delete: who had begun is waited for, for a second at most, and who
-- comes then sees the new blocks.
create function close_article_blocks(size integer default 5000) returns integer language plpgsql set lock_timeout = '1s' as $$
declare
  from_created_at timestamptz(3) := '-infinity';
  from_id bigint := 0;
  next record;
begin
  lock table articles in share row exclusive mode;
  select end_created_at, end_id into from_created_at, from_id
    from article_blocks order by end_created_at desc, end_id desc limit 1;
  for block in 1 .. 100 loop
    select created_at, id into next
      from articles
     where (created_at, id) >= (coalesce(from_created_at, '-infinity'), coalesce(from_id, 0))
     order by created_at, id offset size limit 1;
    if not found or next.created_at >= clock_timestamp() - interval '1 hour' then
      return block - 1;
    end if;
    insert into article_blocks values (next.created_at, next.id, size);
    from_created_at := next.created_at;
    from_id := next.id;
  end loop;
  return 100;
end $$;

create function article_block_changed() returns trigger language plpgsql as $$
declare
  article articles := case tg_op when 'INSERT' then new else old end;
begin
  update article_blocks
     set articles_count = articles_count + case tg_op when 'INSERT' then 1 else -1 end
   where (end_created_at, end_id) = (
     select end_created_at, end_id from article_blocks
      where (end_created_at, end_id) > (article.created_at, article.id)
      order by end_created_at, end_id limit 1);
  return null;
end $$;
-- By the clock, not by now(): blocks may have been closed since the transaction began. This is the last lock in the order
-- of 0002_articles.sql, as triggers of one event fire in the order of their names.
create trigger article_inserted_into_block after insert on articles
  for each row when (new.created_at < clock_timestamp() - interval '1 hour')
  execute function article_block_changed();
create trigger article_removed_from_block after delete on articles
  for each row when (old.created_at < clock_timestamp() - interval '1 hour')
  execute function article_block_changed();
