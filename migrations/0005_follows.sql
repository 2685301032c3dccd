create table follows (
  -- Both cascade: a follow says nothing once either side is gone.
  follower_id bigint not null constraint follows_follower_id_fkey references users on delete cascade,
  followee_id bigint not null constraint follows_followee_id_fkey references users on delete cascade,
  -- The order serves "does this viewer follow that author" (one probe) and "whom does this reader follow" (the feed).
  constraint follows_pkey primary key (follower_id, followee_id),
  constraint follows_not_oneself check (follower_id <> followee_id)
);

-- For the cascade from the followed side; without it, removing one account reads the whole table.
create index follows_followee_id_idx on follows (followee_id);
