-- Sessions: one row per signed-in device. It holds the whole chain of its refresh tokens in three hashes, so that a
-- session which is renewed for years stays one row (docs/accounts.md, "Refresh tokens").

create table sessions (
  -- In access tokens as `sid`, and in the API. Random, so that an id tells nothing about its neighbours.
  id                uuid primary key default gen_random_uuid(),
  -- Cascade: a session says nothing without its account.
  user_id           bigint not null constraint sessions_user_id_fkey references users on delete cascade,
  -- What the owner recognises it by.
  device            text not null,
  ip                inet,
  created_at        timestamptz(3) not null default now(),
  -- Written by sign-in and refresh alone: no request of a reader costs a write.
  last_used_at      timestamptz(3) not null default now(),

  -- SHA-256 of the half that all refresh tokens of the session share, by which any of them, however old, is known to
  -- belong here; and of the one token that is good now. 128 and 256 random bits need neither salt nor slow hashing.
  family_hash       bytea not null,
  current_hash      bytea not null,
  -- The token that was good before, and when it was used first: for 20 s it is a lost answer, afterwards a theft.
  predecessor_hash  bytea,
  rotated_at        timestamptz,
  expires_at        timestamptz not null,

  -- When the last access token of the session ends: until then a revocation has to be remembered.
  access_expires_at timestamptz not null,
  revoked_at        timestamptz,
  revoked_for       text,

  -- Also finds the session of a refresh token.
  constraint sessions_family_hash_key unique (family_hash),
  constraint sessions_device_length check (char_length(device) between 1 and 100),
  constraint sessions_hash_sizes check (octet_length(family_hash) = 32 and octet_length(current_hash) = 32
    and octet_length(predecessor_hash) = 32),
  constraint sessions_rotated_whole check ((predecessor_hash is null) = (rotated_at is null)),
  constraint sessions_revoked_for check (revoked_for in ('logout', 'ended', 'others', 'limit', 'reuse', 'password', 'reset')),
  constraint sessions_revoked_whole check ((revoked_at is null) = (revoked_for is null))
) with (
  -- Room for the next version of a row: a refresh changes no indexed column, and so touches no index (HOT).
  fillfactor = 70
);

-- The list of one's sessions, the limit on their number, and the cascade from users.
create index sessions_user_id_idx on sessions (user_id, last_used_at, id);
-- What an instance reads when it starts, and after its connection for notifications was lost.
create index sessions_revoked_at_idx on sessions (revoked_at) where revoked_at is not null;

-- Every way to revoke a session tells the other instances, in the transaction that does it.
create function session_revoked() returns trigger language plpgsql as $$
begin
  perform pg_notify('conduit_session_revoked',
    new.id || ' ' || ceil(extract(epoch from new.access_expires_at))::bigint);
  return null;
end $$;
create trigger session_revoked after update of revoked_at on sessions
  for each row when (old.revoked_at is null and new.revoked_at is not null)
  execute function session_revoked();

-- Revokes the sessions of an account that were idle longest, so that at most `kept` stay. A function for its two
-- snapshots: the first statement waits for another sign-in of the same account, and the second sees what that one did.
create function evict_sessions(owner_id bigint, kept integer) returns setof sessions language plpgsql as $$
begin
  perform from users where id = owner_id for no key update;
  return query
    update sessions set revoked_at = now(), revoked_for = 'limit'
     where id in (
       select s.id from sessions s
        where s.user_id = owner_id and s.revoked_at is null and s.expires_at > now()
        order by s.last_used_at desc, s.id desc
       offset kept)
    returning *;
end $$;

-- Revokes the sessions of an account, but for the one in use, where there is one. Its caller has changed the account's
-- row. A function for a snapshot that is taken after that: a sign-in with the old password may have been before us, and
-- the statement that waited for it does not see the session that it opened.
create function end_sessions(owner_id bigint, in_use uuid, why text) returns setof sessions language plpgsql as $$
begin
  return query
    update sessions set revoked_at = now(), revoked_for = why
     where user_id = owner_id and id is distinct from in_use and revoked_at is null
    returning *;
end $$;
