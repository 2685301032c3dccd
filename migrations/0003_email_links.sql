-- Links that were sent by email. Whoever has one can read the mail of its address.
create table email_links (
  id         bigint generated always as identity primary key,
  -- SHA-256 of 256 random bits, which need neither a salt nor a slow hash. Only the email has the token itself.
  token_hash bytea not null,
  -- Cascade: a link belongs to its user.
  user_id    bigint not null constraint email_links_user_id_fkey references users on delete cascade,
  purpose    text not null,
  -- The address it was sent to, which using it proves.
  email      text not null,
  email_key  text collate "C" not null,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz not null,
  -- Used or replaced rows stay for a while, so that the response can say "used or expired" instead of "not found".
  used_at    timestamptz,
  ended_at   timestamptz,

  constraint email_links_token_hash_key unique (token_hash),
  constraint email_links_hash_size check (octet_length(token_hash) = 32),
  constraint email_links_purpose check (purpose in ('verify', 'reset', 'undo')),
  constraint email_links_over_once check (used_at is null or ended_at is null)
);
-- A newer link ends the older ones. Writers lock the user row first; this guards against one that does not. Links that undo
-- a change of the address are not replaced: a thief could end the owner's by changing the address again.
create unique index email_links_live on email_links (user_id, purpose)
  where purpose <> 'undo' and used_at is null and ended_at is null;
-- Keeps an address from other users as long as its former owner can take it back.
create index email_links_undo_email_key_idx on email_links (email_key) where purpose = 'undo';
-- For the cascade from users.
create index email_links_user_id_idx on email_links (user_id);
-- For the clean-up.
create index email_links_expires_at_idx on email_links (expires_at);
