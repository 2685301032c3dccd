-- Full-text search over articles. docs/decisions/0032-search.md explains the design.

-- Words are cleaned by the program (src/features/articles/search/words.ts) before they come here, so the parser only sees
-- letters, digits and spaces. English stems; no stop words, so that "to be or not to be" can be found.
create text search dictionary english_stems (template = snowball, language = english);
create text search configuration article (copy = simple);
alter text search configuration article
  alter mapping for asciiword, word, asciihword, hword, hword_asciipart, hword_part with english_stems;

-- What can be found. Besides words, each vector has marks, which begin with "_", so no reader can search for them:
-- _w11_N, _w14_N, _w17_N: the article is among the 2,048, 16,384 or 131,072 whose id divided by that is N
-- _f2, _f3, …: it has a number of favourites with that many digits, or more
-- _aN: its author; _tTAG: one of its tags
-- _hWORD: a word of its title, in `head` alone. An index has no weights: rows would be read to know where the word is
create table article_search (
  -- No foreign key: rows follow by way of search_queue, in the order of changes.
  article_id bigint not null constraint article_search_pkey primary key,
  -- Title (weight A), tags (B) and description (C).
  head       tsvector not null,
  -- The same, and the body (D).
  everything tsvector not null
) with (toast_tuple_target = 128);
-- Uncompressed and out of line: a scan of ids does not read them, and ranking does not decompress them.
alter table article_search alter column everything set storage external;
-- Without a list of pending entries, which every search would read: rows are only written behind a request.
create index article_search_head_idx on article_search using gin (head) with (fastupdate = off);
create index article_search_everything_idx on article_search using gin (everything) with (fastupdate = off);

-- The articles whose row in article_search is out of date, written in the transaction that changed them. One article may be
-- in it several times: with a unique key, an edit would wait for the job that is indexing the article.
create table search_queue (
  id         bigint generated always as identity constraint search_queue_pkey primary key,
  article_id bigint not null
);

-- Words of titles and tags, to complete what a reader types and to correct typing errors. A word stays when its last article is deleted.
create table search_words (
  word text collate "C" not null constraint search_words_pkey primary key,
  constraint search_words_length check (char_length(word) between 2 and 30)
);

create function queue_for_search() returns trigger language plpgsql as $$
begin
  insert into search_queue (article_id) values (old.id);
  return null;
end $$;
create trigger article_search_deleted after delete on articles
  for each row when (old.status = 'published') execute function queue_for_search();

-- Once per statement, as several articles are published together.
create function queue_published_for_search() returns trigger language plpgsql as $$
begin
  insert into search_queue (article_id) select id from added where status = 'published';
  return null;
end $$;
create trigger articles_search_published after insert on articles
  referencing new table as added for each statement execute function queue_published_for_search();

-- Every edit raises the version. Drafts are not in the index.
create trigger article_search_edited after update of version, status on articles
  for each row when (old.status = 'published' or new.status = 'published') execute function queue_for_search();
-- The mark _fN changes with the number of digits, so of a thousand favourites three cause work.
create trigger article_search_favorited after update of favorites_count on articles
  for each row when (length(old.favorites_count::text) <> length(new.favorites_count::text))
  execute function queue_for_search();

-- Articles that exist already. The newest get the highest numbers, and are indexed first.
insert into search_queue (article_id) select id from articles where status = 'published' order by id;

-- The ids of at most `wanted` articles that match, of the first of `windows` in which there are so many, otherwise of the
-- last. Each step is cheap: the first windows have few articles, and the next ones are only searched for words that had few
-- matches in them.
-- Three conditions, in this order: GIN skips through the lists of each to where the one before has a match. With a single
-- condition, it would read the list of every word. `longest` are some of the words that all matches have, the rarest if possible.
create function search_windows(
  in_head boolean, longest tsquery, words tsquery, windows tsquery[], newest bigint, wanted integer
)
returns bigint[] language plpgsql stable
-- Only the index is fast, and it is for every value: PostgreSQL does not know what it costs to read a vector.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  one_window tsquery;
  found_ids  bigint[] := '{}';
begin
  foreach one_window in array windows loop
    -- Materialized, as a limit would make the planner read the newest articles one by one.
    if in_head then
      found_ids := array(
        with matches as materialized (
          select article_id from article_search where head @@ one_window and head @@ longest and head @@ words)
        select article_id from matches where article_id <= newest order by article_id desc limit wanted);
    else
      found_ids := array(
        with matches as materialized (
          select article_id from article_search
           where everything @@ one_window and everything @@ longest and everything @@ words)
        select article_id from matches where article_id <= newest order by article_id desc limit wanted);
    end if;
    exit when cardinality(found_ids) >= wanted;
  end loop;
  return found_ids;
end $$;

-- Windows in time, the newest first. Two marks each, so that a window is never nearly empty. The last one has all matches.
create function search_ages(newest bigint, longest tsquery) returns tsquery[] language sql immutable
return array(
  select format('_w%s_%s | _w%s_%s', level, newest >> level, level, greatest((newest >> level) - 1, 0))::tsquery
    from unnest(array[11, 14, 17]) as level
   -- A window with all articles is the last one.
   where newest >> level > 1
   order by level) || longest;

-- The newest 100 articles whose head matches, and 100 of these that have the most favourites.
create function search_heads(longest tsquery, words tsquery, newest bigint) returns bigint[] language plpgsql stable as $$
declare
  newest_ids bigint[] := search_windows(true, longest, words, search_ages(newest, longest), newest, 100);
begin
  -- Then these are all.
  if cardinality(newest_ids) < 100 then return newest_ids; end if;
  return newest_ids
    || search_windows(true, longest, words, array['_f6', '_f5', '_f4', '_f3', '_f2']::tsquery[], newest, 100);
end $$;

-- The articles that are worth ranking: the newest 200 that match, and those whose title, tags and description do, as above.
create function search_candidates(longest tsquery, words tsquery, newest bigint) returns bigint[] language plpgsql stable
as $$
declare
  newest_ids bigint[] := search_windows(false, longest, words, search_ages(newest, longest), newest, 200);
begin
  if cardinality(newest_ids) < 200 then return newest_ids; end if;
  return newest_ids || search_heads(longest, words, newest);
end $$;

-- pg_trgm is part of PostgreSQL's contrib, and trusted, so the owner of a database may create it. Without it, typing errors
-- are not corrected, and nothing else changes.
do $$
begin
  create extension if not exists pg_trgm;
  create index search_words_word_idx on search_words using gin (word gin_trgm_ops);
  create index users_username_key_idx on users using gin (username_key gin_trgm_ops);
exception when insufficient_privilege or feature_not_supported or undefined_file then
  raise notice 'Search does not correct typing errors, as the extension pg_trgm is not available: %', sqlerrm;
end $$;

-- The word of titles and tags that is most like this one; null if none is, or without pg_trgm.
create function nearest_word(written text) returns text language plpgsql stable as $$
begin
  if to_regprocedure('similarity(text, text)') is null then return null; end if;
  return (select word from search_words where word % written and char_length(word) >= 4
           order by similarity(word, written) desc, word limit 1);
end $$;

-- The usernames that are most like this one; none without pg_trgm.
create function nearest_usernames(written text, wanted integer) returns setof text language plpgsql stable as $$
begin
  if to_regprocedure('similarity(text, text)') is null then return; end if;
  return query
    select username from users where username_key % written
     order by similarity(username_key, written) desc, username_key limit wanted;
end $$;
