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
