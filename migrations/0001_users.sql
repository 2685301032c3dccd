-- Accounts.

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

  -- Named, because the application maps each to the field that it tells the client about.
  constraint users_username_key unique (username_key),
  constraint users_email_key unique (email_key),
  constraint users_username_length check (char_length(username) between 3 and 50),
  constraint users_email_length check (char_length(email) between 3 and 254),
  -- "No biography" has one form. The API turns the empty string into null; this keeps every other writer to it.
  constraint users_bio_not_empty check (bio <> ''),
  constraint users_image_not_empty check (image <> '')
);
