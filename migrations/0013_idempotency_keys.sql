-- Keys under which a client may repeat a request (docs/guide/publishing.md, "Safe retries"), with the response to the first.

create table idempotency_keys (
  -- Cascade: a key belongs to its user, and means nothing to others.
  user_id      bigint not null constraint idempotency_keys_user_id_fkey references users on delete cascade,
  key          text collate "C" not null,
  -- SHA-256 of the request: another one under the same key is refused.
  request_hash bytea not null,
  -- JSON. Empty only within the transaction that does what the request asks for.
  response     text not null default '',
  -- The topics that the request has changed (src/memory/topics.ts). A repeated request reports them again, as the server that
  -- committed the first may have stopped before it did.
  changed      text[] not null default '{}',
  created_at   timestamptz not null default now(),

  -- The second of two requests waits here for the first one's transaction. Also for the cascade from users.
  constraint idempotency_keys_pkey primary key (user_id, key),
  constraint idempotency_keys_key_length check (char_length(key) between 1 and 255),
  constraint idempotency_keys_request_hash_size check (octet_length(request_hash) = 32)
);
-- For the clean-up.
create index idempotency_keys_created_at_idx on idempotency_keys (created_at);
