-- Favourites.

create table favorites (
  user_id              bigint not null constraint favorites_user_id_fkey references users on delete cascade,
  article_id           bigint not null,
  -- Copies of what never changes in the article: a reader's favourites come sorted from one index, and can be filtered by
  -- author within it.
  article_published_at timestamptz(3) not null,
  author_id            bigint not null,
  -- Whether the article is published: a copy of its status, as lists show only those. A favourite outlives the withdrawal of
  -- an article, and is shown again with it.
  is_published         boolean not null default true,

  -- One row per reader and article, as published_at depends on the article. In this order, it answers "the favourites of
  -- this reader, newest first" and "is this article a favourite of this viewer".
  constraint favorites_pkey primary key (user_id, article_published_at, article_id) include (author_id, is_published),
  constraint favorites_article_fkey foreign key (article_id) references articles on delete cascade
);

-- For the cascade from articles.
create index favorites_article_id_idx on favorites (article_id);

-- Removes favourites and returns those that there were. A function, because it needs a snapshot of its own: the statement that
-- calls it may have waited for an article's lock, and would not see a favourite that was added meanwhile.
create function remove_favorites(unwanted favorites[]) returns setof favorites language plpgsql as $$
begin
  return query
    delete from favorites f
     using unnest(unwanted) u
     where f.user_id = u.user_id and f.article_published_at = u.article_published_at and f.article_id = u.article_id
    returning f.*;
end $$;

-- Once per statement, not per row: a deleted account may have favourited thousands of articles.
create function favorites_added() returns trigger language plpgsql as $$
begin
  update articles a set favorites_count = a.favorites_count + n.favorites
    from (select article_id, count(*) as favorites from added group by 1) n
   where a.id = n.article_id;
  return null;
end $$;
create trigger favorites_added after insert on favorites
  referencing new table as added for each statement execute function favorites_added();

create function favorites_removed() returns trigger language plpgsql as $$
begin
  -- Updates no row where the article itself is being deleted.
  update articles a set favorites_count = a.favorites_count - n.favorites
    from (select article_id, count(*) as favorites from removed group by 1) n
   where a.id = n.article_id;
  return null;
end $$;
create trigger favorites_removed after delete on favorites
  referencing old table as removed for each statement execute function favorites_removed();

-- Whoever adds a favourite locks the article first, so none is added meanwhile.
create function article_favorites_shown() returns trigger language plpgsql as $$
begin
  update favorites set is_published = new.status = 'published' where article_id = new.id;
  return null;
end $$;
create trigger article_favorites_shown after update of status on articles
  for each row when ((old.status = 'published') <> (new.status = 'published')) execute function article_favorites_shown();
