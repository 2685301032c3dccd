create type text_range as range (subtype = text, collation = "C");

-- Ranges overlap if two names are easily confused: names with the same skeleton (UTS 39, 4), unless both are ASCII. A name
-- beyond ASCII takes the whole range of its skeleton, an ASCII name a point in it, so `modern` and `rnodern` may coexist.
-- Skeletons have no control characters, so a tab and a line feed delimit the range.
create function username_range(username text, username_key text, username_skeleton text) returns text_range
language sql immutable parallel safe
return case octet_length(username) = char_length(username)
  when true
    then text_range(username_skeleton || e'\t' || username_key, username_skeleton || e'\t' || username_key, '[]')
  when false
    then text_range(username_skeleton || e'\t', username_skeleton || e'\n')
end;

create table users (
  id                bigint generated always as identity primary key,
  username          text not null,
  -- Usernames are equal if their keys are: NFKC and lower case, computed by the application (users/rules.ts), so that
  -- uniqueness does not depend on the collation or the Unicode version of the PostgreSQL in use.
  -- "C" collation: keys are only compared for equality, and comparing bytes is fastest.
  username_key      text collate "C" not null,
  -- What the username looks like, computed by the application (users/names.ts).
  username_skeleton text collate "C" not null,
  email             text not null,
  email_key         text collate "C" not null,
  -- When the address in `email` was verified; null until then.
  email_verified_at timestamptz(3),
  -- argon2id in PHC string format.
  password_hash     text not null,
  bio               text,
  image             text,
  created_at        timestamptz(3) not null default now(),
  updated_at        timestamptz(3) not null default now(),

  -- Named, because the application maps each one to the field that the error response names.
  constraint users_username_key unique (username_key),
  constraint users_email_key unique (email_key),
  constraint users_username_range exclude using gist
    (username_range(username, username_key, username_skeleton) with &&),
  constraint users_username_length check (char_length(username) between 3 and 50),
  constraint users_email_length check (char_length(email) between 3 and 254),
  -- "No biography" has one form. The API turns the empty string into null; this covers every other writer.
  constraint users_bio_not_empty check (bio <> ''),
  constraint users_image_not_empty check (image <> '')
);
