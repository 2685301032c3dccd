import type { SQL } from "bun";

/** Names from the data set, of which the requests are made. */
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

/** Reads the names from a data set that `seed` made. */
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
      `select username as it from (select user_id, count(*) from favorites group by 1) f join users on id = user_id
        order by count desc, id limit 1`,
    ),
    discussed: await one(
      `select slug as it from (select article_id, count(*) from comments group by 1) c join articles on id = article_id
        order by abs(count - 20), id limit 1`,
    ),
    body: await one("select body as it from articles where length(body) between 1500 and 2000 order by id limit 1"),
  };
}
