-- How often something was done recently, by address or by user. In the database, so that all instances count together.

-- Unlogged: skips the write-ahead log, which makes it cheap. After a crash of PostgreSQL the table is empty and counting
-- starts again; an attacker cannot cause that.
create unlogged table rate_limits (
  -- What is counted, and a hash of the address or user it is counted for.
  key     text collate "C" not null constraint rate_limits_pkey primary key,
  count   integer not null,
  -- The limit. Stored, because the statement that counts needs it in the conflict clause.
  max     integer not null,
  ends_at timestamptz not null
) with (
  -- Room for the next version of a row on its page: counting within a window changes no indexed column (a HOT update).
  fillfactor = 50
);
-- For the clean-up.
create index rate_limits_ends_at_idx on rate_limits (ends_at);
