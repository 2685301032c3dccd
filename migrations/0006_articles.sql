-- Articles, and all that is kept beside them so that no list and no count grows with their number.

-- A point in time as the API shows it: ISO 8601 in UTC with milliseconds. Immutable in truth, as author_json_members.
create function json_timestamp(at timestamptz) returns text language sql immutable
  return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- The members of an article's JSON that are the same for every viewer, `body` and `favoritesCount` aside.
create function article_json_members(
  slug text, title text, description text, tag_list text[], created_at timestamptz, updated_at timestamptz
) returns text language sql immutable
  return '"slug":"' || slug
      || '","title":' || to_json(title)
      || ',"description":' || to_json(description)
      || ',"tagList":' || to_json(tag_list)
      || ',"createdAt":"' || json_timestamp(created_at)
      || '","updatedAt":"' || json_timestamp(updated_at) || '"';

create table articles (
  id              bigint generated always as identity primary key,
  -- Cascade: an account takes its articles along.
  author_id       bigint not null constraint articles_author_id_fkey references users on delete cascade,
  slug            text collate "C" not null,
  -- Whether the path is the title's with a suffix after it, as the title's own was taken. A word of the title may look
  -- the same ("learn-database"), and has to go where the title loses it.
  slug_has_suffix boolean not null default false,
  title           text not null,
  description     text not null,
  body            text not null,
  -- The tags in the author's order. article_tags and tags are derived from it, by the triggers below.
  tag_list        text[] not null default '{}',
  -- Kept by the triggers on favorites.
  favorites_count integer not null default 0,
  created_at      timestamptz(3) not null default now(),
  updated_at      timestamptz(3) not null default now(),
  -- Made when the row is written, as it is read some thousand times as often (docs/decisions/0003-json-members.md).
  json_members    text not null generated always as (
    article_json_members(slug, title, description, tag_list, created_at, updated_at)) stored,

  constraint articles_slug_key unique (slug),
  -- Read backwards, this is the list of all articles: newest first, ties by id. That it is a unique constraint lets
  -- favorites refer to it, and so carry created_at without ever disagreeing with the article.
  constraint articles_created_at_id_key unique (created_at, id),
  constraint articles_slug_form check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 120),
  constraint articles_slug_suffix check (not slug_has_suffix or slug ~ '-[a-z0-9]{8}$'),
  -- GET /api/articles/feed is another route.
  constraint articles_slug_not_reserved check (slug <> 'feed'),
  constraint articles_title_length check (char_length(title) between 1 and 255),
  constraint articles_description_length check (char_length(description) between 1 and 1000),
  constraint articles_body_size check (octet_length(body) between 1 and 1048576),
  constraint articles_tag_list_size check (cardinality(tag_list) <= 20),
  constraint articles_favorites_count_not_negative check (favorites_count >= 0)
) with (
  -- Room in each page for the next version of a row, so that a favourite, which changes no indexed column, stays on
  -- its page and touches no index (a HOT update).
  fillfactor = 85,
  -- Bodies are stored out of line whatever their size: lists never read them, and a favourite does not rewrite them.
  toast_tuple_target = 128
);
-- ... and only bodies: what lists show stays in the row, though it be longer than the target above.
alter table articles
  alter column title set storage main,
  alter column description set storage main,
  alter column tag_list set storage main,
  alter column slug set storage main,
  alter column json_members set storage main;

-- The list of one author's articles, the feed, and the cascade from users.
create index articles_author_id_idx on articles (author_id, created_at, id);

-- Which articles have a tag, sorted as the list shows them. Belongs to the triggers of articles, which remove a row
-- by its whole key; a foreign key would cost a second index, for a lookup by article that nothing else needs.
create table article_tags (
  tag        text collate "C" not null,
  created_at timestamptz(3) not null,
  article_id bigint not null,
  author_id  bigint not null,
  constraint article_tags_pkey primary key (tag, created_at, article_id)
);
-- The list by author and tag together.
create index article_tags_author_id_idx on article_tags (author_id, tag, created_at, article_id);

-- The tags in use, with the number of articles of each. A row goes with its last article.
create table tags (
  name           text collate "C" not null constraint tags_pkey primary key,
  articles_count bigint not null,
  constraint tags_name_length check (char_length(name) between 1 and 50),
  constraint tags_articles_count_not_negative check (articles_count >= 0)
) with (fillfactor = 70);

-- Number of articles per author, and the newest of them: a feed asks first who of a thousand authors has written
-- lately, and then only those for their articles. No row: no articles.
create table author_counts (
  -- No foreign key: the row belongs to the triggers, and is removed with the account by the one on users.
  user_id           bigint not null constraint author_counts_pkey primary key,
  articles_count    bigint not null,
  newest_created_at timestamptz(3) not null,
  newest_id         bigint not null,
  constraint author_counts_positive check (articles_count > 0)
) with (fillfactor = 70);

-- Number of articles in all, as the sum of 32 rows. Every connection counts in a row of its own (as far as 32 go), or
-- all publishing would queue for the lock of a single row, held until the disk has the commit. One row alone may be
-- negative: what one connection published, another may delete.
-- tag_changes only rises, by one with every transaction that touches a tag: where its sum is what it was, the list of
-- tags is what it was, and need not be made again.
create table article_totals (
  slot           integer not null constraint article_totals_pkey primary key,
  articles_count bigint not null default 0,
  tag_changes    bigint not null default 0
) with (fillfactor = 50);
insert into article_totals (slot) select generate_series(0, 31);

-- Locks are taken in one order everywhere, so that writers wait for each other but never in a circle:
-- article, reader_counts by id, tags by name, author_counts by id, article_totals.

create function article_changed() returns trigger language plpgsql as $$
declare
  added   text[] := case when tg_op = 'DELETE' then '{}' else new.tag_list end;
  removed text[] := case when tg_op = 'INSERT' then '{}' else old.tag_list end;
  newest record;
begin
  if removed <> '{}' then
    delete from article_tags
     where tag = any (removed) and created_at = old.created_at and article_id = old.id and tag <> all (added);
  end if;
  if added <> '{}' then
    insert into article_tags (tag, created_at, article_id, author_id)
    select tag, new.created_at, new.id, new.author_id from unnest(added) as tag
    where tag <> all (removed);
  end if;
  -- What comes and what goes in one statement, so that an edit too takes these locks in the order of their names.
  insert into tags as t (name, articles_count)
  select tag collate "C", 1 from unnest(added) as tag where tag <> all (removed)
   union all
  select tag collate "C", 0 from unnest(removed) as tag where tag <> all (added)
   order by 1
  on conflict (name) do update set
    articles_count = t.articles_count + case excluded.articles_count when 1 then 1 else -1 end;
  if removed <> '{}' then
    delete from tags where name = any (removed) and articles_count = 0;
  end if;
  if tg_op = 'INSERT' then
    insert into author_counts as c (user_id, articles_count, newest_created_at, newest_id)
    values (new.author_id, 1, new.created_at, new.id)
    on conflict (user_id) do update set
      articles_count = c.articles_count + 1,
      (newest_created_at, newest_id) = (
        select created_at, id
          from (values (c.newest_created_at, c.newest_id), (excluded.newest_created_at, excluded.newest_id)) as n (created_at, id)
         order by created_at desc, id desc limit 1);
  elsif tg_op = 'DELETE' then
    -- Locked by a statement of its own: the next one then sees what the one who held the lock has published.
    perform from author_counts where user_id = old.author_id for no key update;
    select a.created_at, a.id into newest
      from articles a where a.author_id = old.author_id order by a.created_at desc, a.id desc limit 1;
    if found then
      update author_counts c
         set articles_count = c.articles_count - 1,
             newest_created_at = newest.created_at,
             newest_id = newest.id
       where c.user_id = old.author_id;
    else
      delete from author_counts where user_id = old.author_id;
    end if;
  end if;
  update article_totals t
     set articles_count = t.articles_count + case tg_op when 'INSERT' then 1 when 'DELETE' then -1 else 0 end,
         tag_changes = t.tag_changes + case when added <> removed then 1 else 0 end
   where t.slot = pg_backend_pid() % 32;
  return null;
end $$;

create trigger article_inserted_or_deleted after insert or delete on articles
  for each row execute function article_changed();
create trigger article_tags_edited after update of tag_list on articles
  for each row when (old.tag_list is distinct from new.tag_list) execute function article_changed();

-- These are copied into favorites and article_tags.
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '%.% of an article does not change', tg_table_name, tg_argv[0] using errcode = 'check_violation';
end $$;
create trigger article_identity_fixed before update of author_id, created_at on articles
  for each row when (old.author_id <> new.author_id or old.created_at <> new.created_at)
  execute function refuse_change('author_id and created_at');

create table favorites (
  user_id            bigint not null constraint favorites_user_id_fkey references users on delete cascade,
  article_id         bigint not null,
  -- Copies of what never changes in the article, so that a reader's favourites come sorted from one index, and can be
  -- narrowed to an author within it.
  article_created_at timestamptz(3) not null,
  author_id          bigint not null,
  -- One per reader and article: created_at is a function of the article. The order serves both the list of a reader's
  -- favourites and "did this viewer favourite that article", whose row is at hand with its created_at.
  constraint favorites_pkey primary key (user_id, article_created_at, article_id) include (author_id),
  -- Cascade: deleting an article takes its favourites along.
  constraint favorites_article_fkey foreign key (article_created_at, article_id)
    references articles (created_at, id) on delete cascade
);
-- For the cascade from articles.
create index favorites_article_id_idx on favorites (article_id);

-- Takes a favourite back; says whether there was one. A function for its own snapshot: the statement that calls it has
-- waited for the article, and would not see a favourite that was given meanwhile.
create function take_favorite(reader_id bigint, at timestamptz, article bigint) returns boolean language plpgsql as $$
begin
  delete from favorites where user_id = reader_id and article_created_at = at and article_id = article;
  return found;
end $$;

-- Number of favourites per reader.
create table reader_counts (
  user_id         bigint not null constraint reader_counts_pkey primary key,
  favorites_count bigint not null,
  constraint reader_counts_not_negative check (favorites_count >= 0)
) with (fillfactor = 70);

-- Once per statement, not per row: a deleted article may take a hundred thousand favourites along.
create function favorites_added() returns trigger language plpgsql as $$
begin
  update articles a set favorites_count = a.favorites_count + n.favorites
    from (select article_id, count(*) as favorites from added group by 1) n
   where a.id = n.article_id;
  insert into reader_counts as c (user_id, favorites_count)
  select user_id, count(*) from added group by 1 order by 1
  on conflict (user_id) do update set favorites_count = c.favorites_count + excluded.favorites_count;
  return null;
end $$;
create trigger favorites_added after insert on favorites
  referencing new table as added for each statement execute function favorites_added();

create function favorites_removed() returns trigger language plpgsql as $$
begin
  -- Finds no row where the article itself is being deleted.
  update articles a set favorites_count = a.favorites_count - n.favorites
    from (select article_id, count(*) as favorites from removed group by 1) n
   where a.id = n.article_id;
  perform from reader_counts where user_id in (select user_id from removed) order by user_id for no key update;
  update reader_counts c set favorites_count = c.favorites_count - n.favorites
    from (select user_id, count(*) as favorites from removed group by 1) n
   where c.user_id = n.user_id;
  return null;
end $$;
create trigger favorites_removed after delete on favorites
  referencing old table as removed for each statement execute function favorites_removed();

-- After the cascades of the same deletion, which still count down: triggers of one event fire in the order of their
-- names, and the cascades' begin with "RI_".
create function user_counts_removed() returns trigger language plpgsql as $$
begin
  delete from reader_counts where user_id = old.id;
  delete from author_counts where user_id = old.id;
  return null;
end $$;
create trigger user_counts_removed after delete on users
  for each row execute function user_counts_removed();

create table comments (
  id         bigint generated always as identity primary key,
  -- Both cascade: a comment is gone with its article, and with its author's account.
  article_id bigint not null constraint comments_article_id_fkey references articles on delete cascade,
  author_id  bigint not null constraint comments_author_id_fkey references users on delete cascade,
  body       text not null,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  constraint comments_body_length check (char_length(body) between 1 and 65536)
);
-- An article's comments as they are shown, newest first, and the cascade from articles.
create index comments_article_id_idx on comments (article_id, created_at, id);
-- For the cascade from users.
create index comments_author_id_idx on comments (author_id);
