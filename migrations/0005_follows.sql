-- Who follows whom.

create table follows (
  follower_id bigint not null constraint follows_follower_id_fkey references users on delete cascade,
  followee_id bigint not null constraint follows_followee_id_fkey references users on delete cascade,
  created_at  timestamptz(3) not null default now(),

  -- In this order, it answers "does this viewer follow that author" and "whom does this reader follow" (the feed).
  constraint follows_pkey primary key (follower_id, followee_id),
  constraint follows_not_oneself check (follower_id <> followee_id)
);

-- For the cascade from the followed account: without it, deleting one account reads the whole table.
create index follows_followee_id_idx on follows (followee_id);
