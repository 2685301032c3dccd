-- Blocks of articles that are counted, by which a page deep in the list of all is found without walking there
-- (docs/decisions/0006-article-blocks.md).

-- A block are the articles between the end of the block before it, or the very first article, and its own end, which is
-- the key of the first article after it. Every article that is older than the newest end is in one; those since then, an
-- hour's at least, are in none. So publishing, which happens at the newest end, changes no row here.
create table article_blocks (
  end_created_at timestamptz(3) not null,
  end_id         bigint not null,
  articles_count bigint not null,
  constraint article_blocks_pkey primary key (end_created_at, end_id),
  constraint article_blocks_count_not_negative check (articles_count >= 0)
) with (fillfactor = 70);

-- Closes blocks of so many articles, at most a hundred at a time, of what is older than an hour; says how many. While it
-- counts, some 0.5 ms a block, nobody can change an article: who had begun is waited for, and who comes then sees the new
-- blocks. Not for long, as who comes meanwhile waits too: beside a vacuum of the table there is no lock to be had, and no
-- block is closed this time.
create function close_article_blocks(size integer default 5000) returns integer language plpgsql
set lock_timeout = '50ms' as $$
declare
  from_created_at timestamptz(3);
  from_id bigint;
  next record;
begin
  begin
    lock table articles in share row exclusive mode;
  exception when lock_not_available then
    return 0;
  end;
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
  article_created_at timestamptz(3) := case tg_op when 'INSERT' then new.created_at else old.created_at end;
  article_id bigint := case tg_op when 'INSERT' then new.id else old.id end;
  block record;
begin
  -- Looked for first, as an update costs more also where it finds nothing, and nearly nothing is published into a block.
  select end_created_at, end_id into block
    from article_blocks
   where (end_created_at, end_id) > (article_created_at, article_id)
   order by end_created_at, end_id limit 1;
  if found then
    update article_blocks
       set articles_count = articles_count + case tg_op when 'INSERT' then 1 else -1 end
     where end_created_at = block.end_created_at and end_id = block.end_id;
  end if;
  return null;
end $$;
-- The last lock in the order of 0002_articles.sql, as triggers of one event fire in the order of their names.
create trigger article_joined_or_left_block after insert or delete on articles
  for each row execute function article_block_changed();
