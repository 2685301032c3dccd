-- How often something was done of late, by whom: kept here, so that all instances count together.

-- Unlogged: not written to the log of changes, which makes it cheap. After a crash of PostgreSQL it is empty, and
-- counting begins anew; nobody who attacks can bring that about.
create unlogged table rate_limits (
  -- What is counted, and a hash of whom it is counted for: it names nobody.
  key     text collate "C" not null constraint rate_limits_pkey primary key,
  count   integer not null,
  -- How many may be. Here, as the statement that counts needs it in the conflict.
  max     integer not null,
  ends_at timestamptz not null
) with (
  -- Every count is an update, and touches no index (HOT).
  fillfactor = 50
);
