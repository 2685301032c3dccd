-- What articles and users were before: the versions of articles, their slugs, and the names of users.

-- The versions of an article that an edit replaced. The columns have no rules of their own: they are copies.
create table article_revisions (
  article_id  bigint not null constraint article_revisions_article_id_fkey references articles on delete cascade,
  -- 1 is the oldest. Without gaps, as the oldest are deleted first; the clean-up depends on it.
  number      integer not null,
  title       text not null,
  description text not null,
  -- Null if it is the same as in the next revision, or as now if there is none. So an edit of the title does not copy the body.
  body        text,
  tag_list    text[] not null,
  -- When the version was written, and when the next one replaced it.
  created_at  timestamptz(3) not null,
  replaced_at timestamptz(3) not null default now(),
  constraint article_revisions_pkey primary key (article_id, number)
);
-- For the clean-up, by age and by number.
create index article_revisions_replaced_at_idx on article_revisions (replaced_at);
create index article_revisions_number_idx on article_revisions (number, article_id);

-- Keeps the version that an edit replaces, whoever edits. Of versions that the editor saved by itself, one in ten minutes.
create function article_revised() returns trigger language plpgsql as $$
declare
  newest    article_revisions;
  body_kept text := case when old.body is distinct from new.body then old.body end;
begin
  select number, replaced_at into newest.number, newest.replaced_at
    from article_revisions where article_id = old.id order by number desc limit 1;
  if not old.is_autosaved or newest.replaced_at is null or newest.replaced_at <= now() - interval '10 minutes' then
    insert into article_revisions (article_id, number, title, description, body, tag_list, created_at)
    values (old.id, coalesce(newest.number, 0) + 1, old.title, old.description, body_kept, old.tag_list, old.updated_at);
  elsif body_kept is not null then
    -- The newest revision may have the body of the version that is lost.
    update article_revisions set body = body_kept
     where article_id = old.id and number = newest.number and body is null;
  end if;
  return null;
end $$;
create trigger article_revised after update of version on articles
  for each row when (old.version <> new.version
    and (old.title, old.description, old.tag_list, old.body) is distinct from (new.title, new.description, new.tag_list, new.body))
  execute function article_revised();

-- The slugs that articles had before. They lead to the article, and no other article gets them.
create table former_slugs (
  slug       text collate "C" constraint former_slugs_pkey primary key,
  -- Null if the article was deleted, and its addresses respond with 410 (DELETED_ARTICLES).
  article_id bigint constraint former_slugs_article_id_fkey references articles on delete cascade
);
-- For the cascade from articles.
create index former_slugs_article_id_idx on former_slugs (article_id);

create function article_moved() returns trigger language plpgsql as $$
begin
  -- An article may get its former slug back.
  delete from former_slugs where slug = new.slug;
  insert into former_slugs (slug, article_id) values (old.slug, old.id)
  on conflict (slug) do update set article_id = excluded.article_id;
  return null;
end $$;
-- Nobody but the author has seen the slug of an article that was never published.
create trigger article_moved after update of slug on articles
  for each row when (old.slug <> new.slug and old.published_at is not null) execute function article_moved();

-- The names that users had before. They lead to the user until somebody takes them.
create table former_usernames (
  username_key text collate "C" constraint former_usernames_pkey primary key,
  user_id      bigint not null constraint former_usernames_user_id_fkey references users on delete cascade
);
-- For the cascade from users.
create index former_usernames_user_id_idx on former_usernames (user_id);
