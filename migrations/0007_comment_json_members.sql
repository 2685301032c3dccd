-- Comments get what articles and authors have: the part of their JSON that is dear to make, made when they are written
-- (docs/decisions/0003-json-members.md). For a comment that is its two points in time, half of what reading it cost; the
-- body, which is cheap to escape, is not stored twice. Adding the column rewrites the table, some 10 s a million comments.
-- Servers that run meanwhile wait where they read or write one, and with them what comes behind on the same connection.

create function comment_json_members(id bigint, created_at timestamptz, updated_at timestamptz)
returns text language sql immutable
  return '"id":' || id
      || ',"createdAt":"' || json_timestamp(created_at)
      || '","updatedAt":"' || json_timestamp(updated_at) || '"';

alter table comments add column json_members text not null generated always as (
  comment_json_members(id, created_at, updated_at)) stored;
