-- One row per signed-in device. A row holds the whole chain of its refresh tokens in three hashes, so a session that is
-- refreshed for years stays one row (docs/guide/accounts.md, "Refresh tokens").
create table sessions (
  -- In access tokens as `sid`, and in the API. Random, so that an id says nothing about other ids.
  id                uuid primary key default gen_random_uuid(),
  -- Cascade: a session belongs to its user.
  user_id           bigint not null constraint sessions_user_id_fkey references users on delete cascade,
  -- Shown to the user, to recognise the device by.
  device            text not null,
  ip                inet,
  created_at        timestamptz(3) not null default now(),
  -- Written at login and refresh only: other requests cost no write.
  last_used_at      timestamptz(3) not null default now(),

  -- SHA-256 of the part that all refresh tokens of the session share, which finds the session of any of them; and of the
  -- one token that is valid now. 128 and 256 random bits need neither a salt nor a slow hash.
  family_hash       bytea not null,
  current_hash      bytea not null,
  -- The token before, and when it was first used: for 20 s its reuse is a lost response, afterwards a theft.
  predecessor_hash  bytea,
  rotated_at        timestamptz,
  expires_at        timestamptz not null,

  -- When the last access token of the session expires: a revocation must be remembered until then.
  access_expires_at timestamptz not null,
  revoked_at        timestamptz,
  revoked_for       text,

  -- Finds the session of a refresh token.
  constraint sessions_family_hash_key unique (family_hash),
  constraint sessions_device_length check (char_length(device) between 1 and 100),
  constraint sessions_hash_sizes check (octet_length(family_hash) = 32 and octet_length(current_hash) = 32
    and octet_length(predecessor_hash) = 32),
  constraint sessions_rotated_whole check ((predecessor_hash is null) = (rotated_at is null)),
  constraint sessions_revoked_for check (revoked_for in ('logout', 'ended', 'others', 'limit', 'reuse', 'password', 'reset', 'undo')),
  constraint sessions_revoked_whole check ((revoked_at is null) = (revoked_for is null))
);

-- The list of a user's sessions, the limit on their number, and the cascade from users.
create index sessions_user_id_idx on sessions (user_id);
-- What an instance reads when it starts, and after it lost its connection for notifications.
create index sessions_revoked_at_idx on sessions (revoked_at) where revoked_at is not null;
-- For the clean-up: when the session could no longer be refreshed. `least` ignores null.
create index sessions_ended_at_idx on sessions (least(expires_at, revoked_at));

-- The networks (IPv4 /24, IPv6 /48) from which a user has had a session: somebody else's wrong passwords do not lock these
-- out, and their sign-ins do not wait behind those of strangers. In a table of their own, because the rows of ended sessions
-- go early.
create table known_networks (
  -- Cascade: they belong to their user.
  user_id      bigint not null constraint known_networks_user_id_fkey references users on delete cascade,
  network      text collate "C" not null,
  last_used_at timestamptz(3) not null default now(),

  constraint known_networks_pkey primary key (user_id, network)
);
-- For the clean-up, after 30 days.
create index known_networks_last_used_at_idx on known_networks (last_used_at);

-- Every revocation notifies the other instances, in the transaction that revokes.
create function session_revoked() returns trigger language plpgsql as $$
begin
  perform pg_notify('conduit_session_revoked',
    new.id || ' ' || ceil(extract(epoch from new.access_expires_at))::bigint);
  return null;
end $$;
create trigger session_revoked after update of revoked_at on sessions
  for each row when (old.revoked_at is null and new.revoked_at is not null)
  execute function session_revoked();

-- When the database was restored from a backup: a whole second, like the time in an access token. Tokens from before are
-- invalid: a backup does not know the sessions that began or ended after it was taken, and the id of a user who registered
-- after it becomes that of another one.
create table restores (
  restored_at timestamptz(0) not null constraint restores_pkey primary key
);
