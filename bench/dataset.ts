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

const root = dirname(import.meta.dir);

/** What the requests are made from: names that are in the data set. */
export type Sample = {
  readonly articles: number;
  /** Paths of articles, the most favourited first. */
  readonly popular: readonly string[];
  /** Usernames, spread over all. */
  readonly authors: readonly string[];
  /** The most used first. */
  readonly tags: readonly string[];
  readonly popularTag: string;
  readonly rareTag: string;
  readonly prolificAuthor: string;
  readonly keenReader: string;
  /** Path of an article with some 20 comments. */
  readonly discussed: string;
  /** An article's body of usual length. */
  readonly body: string;
};

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

/** Names that are in a data set of `seed`. */
export async function takeSample(sql: SQL): Promise<Sample> {
  const column = async (statement: string): Promise<string[]> =>
    (await sql.unsafe(statement)).map((row: { it: string }) => row.it);
  const one = async (statement: string): Promise<string> => (await column(statement))[0] as string;
  return {
    articles: Number(await one("select sum(articles_count)::text as it from article_totals")),
    popular: await column("select slug as it from articles order by favorites_count desc, id desc limit 20000"),
    authors: await column(
      `select username as it from users
        where id % greatest((select count(*) from users) / 2000, 1) = 0 and username not like '%\\_%' order by id`,
    ),
    tags: await column("select name as it from tags order by articles_count desc, name limit 500"),
    popularTag: await one("select name as it from tags order by articles_count desc, name limit 1"),
    rareTag: await one("select name as it from tags order by articles_count, name limit 1"),
    prolificAuthor: await one(
      "select username as it from author_counts join users on id = user_id order by articles_count desc, id limit 1",
    ),
    keenReader: await one(
      "select username as it from reader_counts join users on id = user_id order by favorites_count desc, id limit 1",
    ),
    discussed: await one(
      `select slug as it from (select article_id, count(*) from comments group by 1) c join articles on id = article_id
        order by abs(count - 20), id limit 1`,
    ),
    body: await one("select body as it from articles where length(body) between 1500 and 2000 order by id limit 1"),
  };
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
