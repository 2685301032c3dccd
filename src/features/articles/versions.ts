import type { Database } from "../../db/pool.ts";
import { read, textArray } from "../../db/statements.ts";
import { AGE_MAX_MS, type Memory, type Version } from "../../memory/memory.ts";

/**
 * SQL for the version of an article `a` by a user `u`: the transactions that wrote the two rows. PostgreSQL has them in every
 * row, so nobody can forget to raise this version.
 */
export const ARTICLE_VERSION = "a.xmin || ' ' || u.xmin";

/** Often enough that no article becomes too old in between. */
const INTERVAL_MS = AGE_MAX_MS * 0.65;

/** Revalidates the articles in memory that are read again and again, from now on. */
export function keepRevalidating(db: Database, memory: Memory): { stop(): Promise<void> } {
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= revalidateArticles(db, memory)
      // The database cannot be reached, which the next read reports.
      .catch(() => {})
      .finally(() => {
        running = undefined;
      });
  }, INTERVAL_MS);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}

/** Revalidates them once. One statement compares hundreds of versions, which takes less than to read ten articles. */
export const revalidateArticles = (db: Database, memory: Memory): Promise<void> =>
  memory.revalidate((versions) => findChanged(db, versions));

async function findChanged(db: Database, versions: readonly Version[]): Promise<string[]> {
  const ids = textArray(versions.map(({ id }) => id));
  const rows = await db.rows(ARTICLES_CHANGED, [ids, textArray(versions.map(({ version }) => version))]);
  return rows.map(({ id }) => id);
}

const ARTICLES_CHANGED = read<{ id: string }>(
  "articles_changed",
  `select known.id
     from unnest($1::bigint[], $2::text[]) as known (id, version)
     left join lateral (
       select ${ARTICLE_VERSION} as version from articles a join users u on u.id = a.author_id where a.id = known.id limit 1
     ) now on true
    where now.version is distinct from known.version`,
  "slow",
);
