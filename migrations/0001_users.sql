-- People: accounts, and who follows whom.

-- The members of a user's public JSON, `following` aside, which depends on who looks. Immutable in truth, as what it
-- calls depends on no setting here; PostgreSQL cannot know that of to_json.
create function author_json_members(username text, bio text, image text) returns text language sql immutable
  return '"username":' || to_json(username)
      || ',"bio":' || coalesce(to_json(bio)::text, 'null')
      || ',"image":' || coalesce(to_json(image)::text, 'null');

create table users (
  id            bigint generated always as identity primary key,
  username      text not null,
  -- What makes two usernames the same: NFKC and lower case, computed by the application (users/rules.ts), so that
  -- uniqueness does not depend on the collation or the Unicode version of the PostgreSQL it happens to run on.
  -- "C" collation: keys are compared for equality alone, and bytes compare fastest.
  username_key  text collate "C" not null,
  email         text not null,
  email_key     text collate "C" not null,
  -- argon2id in PHC string format. Never leaves the database but for a login.
  password_hash text not null,
  bio           text,
  image         text,
  created_at    timestamptz(3) not null default now(),
  updated_at    timestamptz(3) not null default now(),
  -- Made when the row is written, as it is read some thousand times as often (docs/decisions/0003-json-members.md).
  json_members  text not null generated always as (author_json_members(username, bio, image)) stored,

  -- Named, because the application maps each to the field that it tells the client about.
  constraint users_username_key unique (username_key),
  constraint users_email_key unique (email_key),
  constraint users_username_length check (char_length(username) between 3 and 50),
  constraint users_email_length check (char_length(email) between 3 and 254),
  -- "No biography" has one form. The API turns the empty string into null; this keeps every other writer to it.
  constraint users_bio_not_empty check (bio <> ''),
  constraint users_image_not_empty check (image <> '')
);

create table follows (
  -- Both cascade: a follow says nothing once either side is gone.
  follower_id bigint not null constraint follows_follower_id_fkey references users on delete cascade,
  followee_id bigint not null constraint follows_followee_id_fkey references users on delete cascade,
  -- The order serves "does this viewer follow that author" (one probe) and "whom does this reader follow" (the feed).
  constraint follows_pkey primary key (follower_id, followee_id),
  constraint follows_not_oneself check (follower_id <> followee_id)
);

-- For the cascade from the followed side; without it, removing one account reads the whole table.
create index follows_followee_id_idx on follows (followee_id);
