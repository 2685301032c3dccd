import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { SQL } from "bun";
import { migrations } from "../migrations/index.ts";
import type { DatabaseAddress } from "../src/config/database-address.ts";
import { migrate } from "../src/db/migrations.ts";
import { connectionOptions } from "../src/db/pool.ts";
import { textArray } from "../src/db/statements.ts";
import { LOAD_USERS_MIN, TABLES } from "../src/seed/load.ts";
import { seed } from "../src/seed/seed.ts";
import { startEmbedded } from "../src/server/embedded.ts";
import { type Endpoint, slugOf, writerOf } from "./endpoints.ts";
import { type Sample, takeSample } from "./sample.ts";

const root = dirname(import.meta.dir);

export type Dataset = {
  readonly address: DatabaseAddress;
  readonly postmasterPid: number;
  readonly sample: Sample;
  /** Creates what must exist before an endpoint is measured. */
  prepare(endpoint: Endpoint, nonce: string): Promise<void>;
  /** Deletes what the writers have created. */
  tidy(): Promise<void>;
  /** Vacuums, because otherwise PostgreSQL would start it in the middle of a measurement. */
  settle(): Promise<void>;
  stop(): Promise<void>;
};

/** Starts a PostgreSQL with a data set of this size, from the cache folder or made by the program's own seed. */
export async function openDataset(articles: number, onProgress: (message: string) => void): Promise<Dataset> {
  const dataDir = join(import.meta.dir, ".data", String(articles));
  const mark = join(dataDir, "made-by");
  const recipe = await fingerprint();
  const isMade = existsSync(mark) && readFileSync(mark, "utf8") === recipe;
  if (!isMade && existsSync(dataDir)) {
    onProgress(`The data set of ${articles.toLocaleString("en")} has another schema or seed: creating it again.`);
    rmSync(dataDir, { recursive: true });
  }
  const postgres = await startEmbedded(dataDir, onProgress);
  try {
    if (!isMade) {
      await migrate(postgres.address, migrations, 10_000);
      await seed(
        postgres.address,
        { articles, users: Math.max(Math.round(articles / 10), LOAD_USERS_MIN) },
        onProgress,
      );
      writeFileSync(mark, recipe);
    }
    const sql = new SQL(connectionOptions(postgres.address, 1, { statement_timeout: "0", jit: "off" }));
    // An interrupted run leaves articles and comments behind.
    await tidy(sql);
    const settle = async () => void (await sql.unsafe(`vacuum (analyze) ${TABLES.join(", ")}`));
    await settle();
    const sample = await takeSample(sql);
    return {
      address: postgres.address,
      postmasterPid: Number(readFileSync(join(dataDir, "postgres", "postmaster.pid"), "utf8").split("\n")[0]),
      sample,
      prepare: async ({ articlesBefore = 0 }, nonce) => {
        if (articlesBefore > 0) await makeArticles(sql, nonce, articlesBefore, sample.tags);
      },
      tidy: () => tidy(sql),
      settle,
      stop: async () => {
        await sql.close({ timeout: 0 }).catch(() => {});
        await postgres.stop();
      },
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

/** A hash of everything that the content of the database depends on. */
async function fingerprint(): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for (const { sql } of migrations) hash.update(sql);
  for (const file of [...new Bun.Glob("src/seed/**/*.{ts,md}").scanSync(root)].sort()) {
    hash.update(await Bun.file(join(root, file)).text());
  }
  return hash.digest("hex");
}

/** Creates articles by the writers, with the slugs `slugOf(nonce, 0 …)`. */
export async function makeArticles(sql: SQL, nonce: string, count: number, tags: readonly string[]): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => i);
  await sql.unsafe(
    `insert into articles (author_id, slug, title, description, body, tag_list)
     select u.id, a.slug, a.slug, 'Made for the bench', repeat('A sentence of the bench. ', 80), array[a.tag]
       from unnest($1::text[], $2::text[], $3::text[]) as a (slug, writer, tag)
       join users u on u.username = a.writer`,
    [
      textArray(numbers.map((i) => slugOf(nonce, i))),
      textArray(numbers.map(writerOf)),
      textArray(numbers.map((i) => tags[i % tags.length] as string)),
    ],
  );
}

async function tidy(sql: SQL): Promise<void> {
  for (const [table, column] of [
    ["articles", "author_id"],
    ["comments", "author_id"],
    ["favorites", "user_id"],
    ["follows", "follower_id"],
  ]) {
    await sql.unsafe(
      `delete from ${table} where ${column} = any (array(select id from users where username like 'writer\\_%'))`,
    );
  }
}
