-- Tags: which published articles have one, and how many. Both tables are derived from articles.tag_list and status.

-- In the order in which the list of a tag shows its articles.
create table article_tags (
  tag          text collate "C" not null,
  published_at timestamptz(3) not null,
  -- No foreign key: the triggers below remove a row by its whole key, and a foreign key would need a second index.
  article_id   bigint not null,
  author_id    bigint not null,
  constraint article_tags_pkey primary key (tag, published_at, article_id)
);
-- For the list by tag and author.
create index article_tags_author_id_idx on article_tags (author_id, tag, published_at, article_id);

-- The tags in use. A row is removed with its last article.
create table tags (
  name           text collate "C" not null constraint tags_pkey primary key,
  articles_count bigint not null,
  -- When an article got it last.
  last_used_at   timestamptz not null default now(),
  constraint tags_name_length check (char_length(name) between 1 and 50),
  constraint tags_articles_count_not_negative check (articles_count >= 0)
) with (
  -- Room for the next version of a row on its page.
  fillfactor = 70
);
-- For GET /api/tags: the most used, and the most recently used. They hold all columns that it reads.
create index tags_articles_count_idx on tags (articles_count desc, name);
create index tags_last_used_at_idx on tags (last_used_at desc, name) include (articles_count);

-- An article that is not published counts as one without tags. PostgreSQL inlines this.
create function listed_tags(status article_status, tag_list text[]) returns text[] language sql immutable
return case status when 'published' then tag_list else '{}' end;

-- Once per statement, as several articles are published together. Sorted by name: every writer locks the rows of tags in
-- this order.
create function articles_tagged() returns trigger language plpgsql as $$
begin
  insert into article_tags (tag, published_at, article_id, author_id)
  select tag, a.published_at, a.id, a.author_id from added a, unnest(listed_tags(a.status, a.tag_list)) as tag;
  insert into tags as t (name, articles_count)
  select tag collate "C", count(*) from added, unnest(listed_tags(status, tag_list)) as tag group by 1 order by 1
  on conflict (name) do update set
    articles_count = t.articles_count + excluded.articles_count,
    last_used_at = greatest(t.last_used_at, now());
  return null;
end $$;
-- Fires after articles_counted (0010_article_counts.sql): triggers of one event fire in the order of their names.
create trigger articles_tagged after insert on articles
  referencing new table as added for each statement execute function articles_tagged();

create function article_tags_changed() returns trigger language plpgsql as $$
declare
  added   text[] := case when tg_op = 'DELETE' then '{}' else listed_tags(new.status, new.tag_list) end;
  removed text[] := listed_tags(old.status, old.tag_list);
begin
  if removed <> '{}' then
    delete from article_tags
     where tag = any (removed) and published_at = old.published_at and article_id = old.id and tag <> all (added);
  end if;
  if added <> '{}' then
    insert into article_tags (tag, published_at, article_id, author_id)
    select tag, new.published_at, new.id, new.author_id from unnest(added) as tag
     where tag <> all (removed);
  end if;
  -- Added and removed tags in one statement, sorted by name.
  insert into tags as t (name, articles_count)
  select tag collate "C", 1 from unnest(added) as tag where tag <> all (removed)
   union all
  select tag collate "C", 0 from unnest(removed) as tag where tag <> all (added)
   order by 1
  on conflict (name) do update set
    articles_count = t.articles_count + case excluded.articles_count when 1 then 1 else -1 end,
    last_used_at = case excluded.articles_count when 1 then greatest(t.last_used_at, now()) else t.last_used_at end;
  if removed <> '{}' then
    delete from tags where name = any (removed) and articles_count = 0;
  end if;
  return null;
end $$;

-- Fires after article_uncounted.
create trigger article_untagged after delete on articles
  for each row execute function article_tags_changed();
create trigger article_tags_edited after update of tag_list, status on articles
  for each row when (old.tag_list is distinct from new.tag_list or old.status <> new.status)
  execute function article_tags_changed();
