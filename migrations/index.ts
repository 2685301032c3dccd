// Named one by one instead of read from the folder, so that they are part of the compiled executable. A test compares this
// list with the folder.

import type { Migration } from "../src/db/migration-steps.ts";
import users from "./0001_users.sql" with { type: "text" };
import sessions from "./0002_sessions.sql" with { type: "text" };
import emailLinks from "./0003_email_links.sql" with { type: "text" };
import rateLimits from "./0004_rate_limits.sql" with { type: "text" };
import follows from "./0005_follows.sql" with { type: "text" };
import articles from "./0006_articles.sql" with { type: "text" };
import tags from "./0007_tags.sql" with { type: "text" };
import favorites from "./0008_favorites.sql" with { type: "text" };
import comments from "./0009_comments.sql" with { type: "text" };
import articleCounts from "./0010_article_counts.sql" with { type: "text" };
import search from "./0011_search.sql" with { type: "text" };
import revisions from "./0012_revisions.sql" with { type: "text" };
import idempotencyKeys from "./0013_idempotency_keys.sql" with { type: "text" };
import timelines from "./0014_timelines.sql" with { type: "text" };

/**
 * The last migration of the first release. No older program exists, so those up to here follow no rules for upgrades, and say
 * nothing about older programs. `npm run check` checks those after it (scripts/checks/migrations.ts).
 */
export const BASELINE = "0014";

/** The whole history of the schema, oldest first. */
export const migrations: readonly Migration[] = [
  { version: "0001", file: "0001_users.sql", sql: users },
  { version: "0002", file: "0002_sessions.sql", sql: sessions },
  { version: "0003", file: "0003_email_links.sql", sql: emailLinks },
  { version: "0004", file: "0004_rate_limits.sql", sql: rateLimits },
  { version: "0005", file: "0005_follows.sql", sql: follows },
  { version: "0006", file: "0006_articles.sql", sql: articles },
  { version: "0007", file: "0007_tags.sql", sql: tags },
  { version: "0008", file: "0008_favorites.sql", sql: favorites },
  { version: "0009", file: "0009_comments.sql", sql: comments },
  { version: "0010", file: "0010_article_counts.sql", sql: articleCounts },
  { version: "0011", file: "0011_search.sql", sql: search },
  { version: "0012", file: "0012_revisions.sql", sql: revisions },
  { version: "0013", file: "0013_idempotency_keys.sql", sql: idempotencyKeys },
  { version: "0014", file: "0014_timelines.sql", sql: timelines },
];
