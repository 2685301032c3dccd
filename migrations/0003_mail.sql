-- Mail: what is to be sent, the links in it, and which address is confirmed.

-- When the address that stands in `email` was confirmed; null as long as it was not.
alter table users add column email_verified_at timestamptz(3);

-- Links that were mailed: whoever has one can read the mail of the address.
create table email_links (
  id         bigint generated always as identity primary key,
  -- SHA-256 of 256 random bits, which need neither salt nor slow hashing. The token itself is in the mail alone.
  token_hash bytea not null,
  -- Cascade: a link is for an account.
  user_id    bigint not null constraint email_links_user_id_fkey references users on delete cascade,
  purpose    text not null,
  -- The address that it was mailed to, and that using it proves.
  email      text not null,
  email_key  text collate "C" not null,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz not null,
  -- Kept a while after, so that who comes late is told that the link was used or ended, and not that it never was.
  used_at    timestamptz,
  ended_at   timestamptz,

  constraint email_links_token_hash_key unique (token_hash),
  constraint email_links_hash_size check (octet_length(token_hash) = 32),
  constraint email_links_purpose check (purpose in ('verify', 'reset')),
  constraint email_links_over_once check (used_at is null or ended_at is null)
);
-- A newer link ends the older ones: two at once cannot both stay.
create unique index email_links_live on email_links (user_id, purpose) where used_at is null and ended_at is null;
-- For the cascade from users.
create index email_links_user_id_idx on email_links (user_id);

-- Ends the links of an account for one purpose, as a newer one comes. A function for its two snapshots: the first
-- statement waits for another that writes such a link, and the second sees what that one wrote.
create function end_links(owner_id bigint, ended_purpose text) returns void language plpgsql as $$
begin
  perform from users where id = owner_id for no key update;
  update email_links set ended_at = now()
   where user_id = owner_id and purpose = ended_purpose and used_at is null and ended_at is null;
end $$;

-- Mail that is to be sent, written in the transaction of its cause (docs/decisions/0010-outbox.md). No text is kept, only
-- what it is made of.
create table outbox (
  id         bigint generated always as identity primary key,
  -- In the Message-ID, the same at every attempt, so that a mailbox that gets a message twice can see it.
  message_id uuid not null default gen_random_uuid(),
  kind       text not null,
  -- Cascade: nothing is mailed to an account that is gone. Null for a reset that was asked for: whether there is such an
  -- account is looked up by who sends, so that the asking takes the same time for everybody.
  user_id    bigint constraint outbox_user_id_fkey references users on delete cascade,
  to_address text not null,
  username   text,
  -- What the kind has to say besides: a device, an address.
  detail     text,
  -- The link's token, encrypted with a key that the database does not have; null again once it is sent.
  sealed     bytea,
  created_at timestamptz(3) not null default now(),
  -- Not before this. Claiming a row moves it into the future: who dies while sending gives it back by that.
  due_at     timestamptz not null default now(),
  attempts   integer not null default 0,
  sent_at    timestamptz,
  dead_at    timestamptz,
  -- What the mail server said last.
  fault      text,

  constraint outbox_kind check (kind in
    ('verify_email', 'reset_password', 'password_changed', 'email_changed', 'session_ended')),
  constraint outbox_sealed_whole check (sealed is null or kind in ('verify_email', 'reset_password')),
  constraint outbox_over_once check (sent_at is null or dead_at is null)
) with (fillfactor = 70);
-- What is due next: only what waits, however much was sent.
create index outbox_due_idx on outbox (due_at, id) where sent_at is null and dead_at is null;
-- For the cascade from users.
create index outbox_user_id_idx on outbox (user_id);
