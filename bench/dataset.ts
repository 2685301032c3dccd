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
import { type Endpoint, pathOf, writerOf } from "./endpoints.ts";
import { type Sample, takeSample } from "./sample.ts";

const root = dirname(import.meta.dir);

export type Dataset = {
  readonly address: DatabaseAddress;
  readonly postmasterPid: number;
  readonly sample: Sample;
  /** Makes what an endpoint needs to be there before it is measured. */
  prepare(endpoint: Endpoint, nonce: string): Promise<void>;
  /** Takes away what the writers have left. */
  tidy(): Promise<void>;
  /** Vacuums, or PostgreSQL would do it by itself at some time, in the middle of a measurement. */
  settle(): Promise<void>;
  stop(): Promise<void>;
};

/** The data set of a size, from the cache folder, or made by the program's own seed; its PostgreSQL is started. */
export async function openDataset(articles: number, say: (message: string) => void): Promise<Dataset> {
  const dataDir = join(import.meta.dir, ".data", String(articles));
  const mark = join(dataDir, "made-by");
  const recipe = await fingerprint();
  const isMade = existsSync(mark) && readFileSync(mark, "utf8") === recipe;
  if (!isMade && existsSync(dataDir)) {
    say(`The data set of ${articles.toLocaleString("en")} was made by another schema or seed: making it again.`);
    rmSync(dataDir, { recursive: true });
  }
  const postgres = await startEmbedded(dataDir, say);
  try {
    if (!isMade) {
      await migrate(postgres.address, migrations, 10_000);
      await seed(postgres.address, { articles, users: Math.max(Math.round(articles / 10), LOAD_USERS_MIN) }, say);
      writeFileSync(mark, recipe);
    }
    const sql = new SQL(connectionOptions(postgres.address, 1, { statement_timeout: "0", jit: "off" }));
    // Left over where a run was cut short.
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

/** Of everything that the content of the database depends on. */
async function fingerprint(): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for (const { sql } of migrations) hash.update(sql);
  for (const file of [...new Bun.Glob("src/seed/**/*.{ts,md}").scanSync(root)].sort()) {
    hash.update(await Bun.file(join(root, file)).text());
  }
  return hash.digest("hex");
}

/** Articles of the writers, at `pathOf(nonce, 0 …)`. */
export async function makeArticles(sql: SQL, nonce: string, count: number, tags: readonly string[]): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => i);
  await sql.unsafe(
    `insert into articles (author_id, slug, title, description, body, tag_list)
     select u.id, a.slug, a.slug, 'Made for the bench', repeat('A sentence of the bench. ', 80), array[a.tag]
       from unnest($1::text[], $2::text[], $3::text[]) as a (slug, writer, tag)
       join users u on u.username = a.writer`,
    [
      textArray(numbers.map((i) => pathOf(nonce, i))),
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
