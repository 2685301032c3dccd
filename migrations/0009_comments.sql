-- Comments.

create table comments (
  id         bigint generated always as identity primary key,
  article_id bigint not null constraint comments_article_id_fkey references articles on delete cascade,
  author_id  bigint not null constraint comments_author_id_fkey references users on delete cascade,
  body       text not null,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  constraint comments_body_length check (char_length(body) between 1 and 10000)
);
-- For the comments of an article, newest first, and the cascade from articles.
create index comments_article_id_idx on comments (article_id, created_at, id);
-- For the cascade from users.
create index comments_author_id_idx on comments (author_id);
