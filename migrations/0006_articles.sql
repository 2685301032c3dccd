-- Articles, which include drafts.

-- The rules for single columns, as domains: they are checked where the column gets a value. Constraints of the table would be
-- checked, and first parsed, by every statement that changes a row, and a favourite changes nothing but one number.
create domain article_slug as text collate "C"
  constraint articles_slug_form check (value ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(value) <= 120)
  -- GET /api/articles/feed is another route.
  constraint articles_slug_not_reserved check (value <> 'feed');
create domain article_title as text
  constraint articles_title_length check (char_length(value) between 1 and 255);
create domain article_description as text
  constraint articles_description_length check (char_length(value) between 1 and 1000);
create domain article_body as text
  constraint articles_body_size check (octet_length(value) between 1 and 1048576);
create domain article_tag_list as text[]
  constraint articles_tag_list_size check (cardinality(value) <= 20);
create domain article_favorites_count as integer
  constraint articles_favorites_count_not_negative check (value >= 0);

create domain article_excerpt as text
  constraint articles_excerpt_length check (char_length(value) <= 200);

-- Only the author can see an article that is not published. A scheduled one becomes published at `publish_at`.
create type article_status as enum ('draft', 'scheduled', 'published');

create table articles (
  id              bigint generated always as identity primary key,
  author_id       bigint not null constraint articles_author_id_fkey references users on delete cascade,
  slug            article_slug not null,
  -- Whether the slug is the title's slug with a random suffix, because the plain one was taken. A title may end in a word
  -- that looks like a suffix ("learn-database"), so the slug alone does not tell.
  slug_has_suffix boolean not null default false,
  title           article_title not null,
  description     article_description not null,
  body            article_body not null,
  -- In the author's order. Triggers keep article_tags and tags in step with it.
  tag_list        article_tag_list not null default '{}',
  -- Computed from the body by the application (text-facts.ts), because lists do not read bodies. The time is in minutes.
  word_count      integer not null default 0,
  reading_time    integer not null default 1,
  excerpt         article_excerpt not null default '',
  -- Maintained by the triggers of favorites.
  favorites_count article_favorites_count not null default 0,
  -- Starts at 1; every edit of the text by the author raises it.
  version         integer not null default 1,
  -- Whether the last edit was saved by the editor, not by the author (0012_revisions.sql).
  is_autosaved    boolean not null default false,
  created_at      timestamptz(3) not null default now(),
  -- When it was first published; null until then. Lists sort by it, and other tables copy it, so it never changes (see the
  -- trigger below), also if the article becomes a draft again.
  published_at    timestamptz(3) default now(),
  updated_at      timestamptz(3) not null default now(),
  status          article_status not null default 'published',
  -- When a scheduled article is to be published; null for all others.
  publish_at      timestamptz(3),

  constraint articles_slug_key unique (slug),
  constraint articles_slug_suffix check (not slug_has_suffix or slug ~ '-[a-z0-9]{8}$')
) with (
  -- Leaves room in each page for the next version of a row. A favourite changes no indexed column, so its update then
  -- stays on the page and touches no index (a HOT update).
  fillfactor = 85,
  -- Stores bodies out of line, whatever their size: lists do not read them, and a favourite does not rewrite them.
  toast_tuple_target = 128
);

-- Everything that lists show stays in the row, even where it is longer than the target above.
alter table articles
  alter column title set storage main,
  alter column description set storage main,
  alter column excerpt set storage main,
  alter column tag_list set storage main,
  alter column slug set storage main;

-- Read backwards, the list of all articles: newest first, ties by id. Not restricted to published articles, as every insert
-- would have to compile the condition of a partial index, which takes longer than the insertion.
create index articles_status_idx on articles (status, published_at, id);
-- For the list of one author's articles, the feed, and the cascade from users.
create index articles_author_id_idx on articles (author_id, status, published_at, id);
-- For the list of one's own drafts.
create index articles_drafts_idx on articles (author_id, id) where status <> 'published';

-- For the sitemap, whose pages have 5,000 ids each: which pages there are, and when something on each changed last.
create index articles_sitemap_idx on articles ((id / 5000), updated_at) where status = 'published';

create function refuse_article_change() returns trigger language plpgsql as $$
begin
  raise exception 'author_id and published_at of an article do not change' using errcode = 'check_violation';
end $$;
create trigger article_fixed_columns before update of author_id, published_at on articles
  for each row when (old.author_id <> new.author_id or old.published_at <> new.published_at
    or (old.published_at is not null and new.published_at is null))
  execute function refuse_article_change();

-- A trigger, not a constraint, which every favourite would check. Inserts are not checked: published articles have the defaults,
-- and others come from one statement (src/features/articles/publication.ts).
create function refuse_article_status() returns trigger language plpgsql as $$
begin
  raise exception 'a published article has published_at, and a scheduled one alone has publish_at' using errcode = 'check_violation';
end $$;
create trigger article_status_whole before update of status, publish_at, published_at on articles
  for each row when (
    (new.status = 'published' and new.published_at is null) or (new.status = 'scheduled') <> (new.publish_at is not null))
  execute function refuse_article_status();
