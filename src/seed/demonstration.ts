import type { SQL } from "bun";
import { write } from "../db/statements.ts";
import { slugBase } from "../features/articles/rules.ts";
import { textFacts } from "../features/articles/text-facts.ts";
import { emailKeyOf } from "../features/identity/users/emails.ts";
import { skeletonOf } from "../features/identity/users/names.ts";
import { sameKey } from "../features/identity/users/rules.ts";
import { type DemonstrationArticle, readCollections } from "./collections.ts";
import { DEMO_USERNAME, PEOPLE } from "./people.ts";

const HOUR_S = 3600;
/** The age of the oldest demonstration content. */
const SPAN_S = 270 * 24 * HOUR_S;

/**
 * Fills the empty tables with demonstration content. It is the same each time, except that its times count back from now.
 * The triggers maintain the counts, as there are few rows.
 * @param site the address of the server, which serves the pictures of people
 * @returns the email of the demo account
 */
export async function insertDemonstration(tx: SQL, passwordHash: string, site: string): Promise<string> {
  const insert = async ({ text }: { text: string }, rows: object[]) =>
    void (await tx.unsafe(text, [JSON.stringify(rows)]));
  const articles = inOrderOfPublication(readCollections());

  await insert(
    INSERT_PEOPLE,
    PEOPLE.map(({ username, bio }, i) => ({
      username,
      username_key: sameKey(username),
      username_skeleton: skeletonOf(username),
      email: emailOf(username),
      email_key: emailKeyOf(emailOf(username)),
      password_hash: passwordHash,
      bio,
      image: `${site}/avatars/${username}.svg`,
      age_s: SPAN_S + (PEOPLE.length - i) * 24 * HOUR_S,
    })),
  );
  await insert(
    INSERT_ARTICLES,
    articles.map(({ article, age_s }) => ({
      author: article.author,
      slug: slugBase(article.title),
      title: article.title,
      description: article.description,
      body: article.body,
      ...textFacts(article.body),
      tags: article.tags,
      age_s,
    })),
  );
  await insert(
    INSERT_COMMENTS,
    articles.flatMap(commentsWithAge).sort((a, b) => b.age_s - a.age_s),
  );
  await insert(INSERT_FOLLOWS, follows(articles.map(({ article }) => article)));
  await insert(INSERT_FAVORITES, favorites(articles.map(({ article }) => article)));
  return emailOf(DEMO_USERNAME);
}

/** The paragraphs of the demonstration content, from which the load-test data set builds its bodies. */
export function demonstrationParagraphs(): string[] {
  return readCollections()
    .flatMap(({ body }) => body.split("\n\n"))
    .filter((paragraph) => paragraph.length >= 250 && /^[\p{L}*"]/u.test(paragraph));
}

export const emailOf = (username: string): string => `${username}@conduit.example`;

type Published = { readonly article: DemonstrationArticle; readonly age_s: number };

/** Oldest first, with the collections mixed; the welcome article is the newest. */
function inOrderOfPublication(articles: DemonstrationArticle[]): Published[] {
  const welcome = articles.find(({ tags }) => tags.includes("welcome"));
  const mixed = articles
    .filter((article) => article !== welcome)
    .sort((a, b) => chance(a.title) - chance(b.title))
    .concat(welcome ?? []);
  return mixed.map((article, i) => {
    const place = mixed.length - 1 - i + chance(article.title, "hour") * 0.8;
    return { article, age_s: Math.round(2 * HOUR_S + (place / mixed.length) * SPAN_S) };
  });
}

/** Comments follow their article within a few days, one after the other, and none is in the future. */
function commentsWithAge({ article, age_s }: Published) {
  const gap_s = Math.min(31 * HOUR_S, age_s / (article.comments.length + 1));
  return article.comments.map(({ author, body }, i) => ({
    slug: slugBase(article.title),
    author,
    body,
    age_s: Math.round(age_s - (i + 0.3 + 0.6 * chance(body)) * gap_s),
  }));
}

/** Everyone follows most authors who write what they read, and a few others. */
function follows(articles: DemonstrationArticle[]) {
  const writesFor = new Map(articles.map(({ author, collection }) => [author, collection]));
  return PEOPLE.flatMap(({ username: follower, reads }) =>
    PEOPLE.filter(({ username: followee }) => {
      const likely = reads.includes(writesFor.get(followee) ?? "") ? 0.8 : 0.1;
      return followee !== follower && chance(follower, "follows", followee) < likely;
    }).map(({ username: followee }) => ({ follower, followee })),
  );
}

/** Everyone favourites much of what they read, and some of the rest; a few articles are more popular than others. */
function favorites(articles: DemonstrationArticle[]) {
  return PEOPLE.flatMap(({ username: reader, reads }) =>
    articles
      .filter(({ collection, title, author }) => {
        const appeal = 0.4 + 0.6 * chance(title, "appeal");
        const likely = appeal * (reads.includes(collection) ? 0.7 : 0.15);
        return author !== reader && chance(reader, "favourites", title) < likely;
      })
      .map(({ title }) => ({ reader, slug: slugBase(title) })),
  );
}

/** A number in [0, 1) that looks random and is the same for the same words. */
function chance(...words: string[]): number {
  return Number(BigInt(Bun.hash(words.join("\n"))) >> 11n) / 2 ** 53;
}

const INSERT_PEOPLE = write(
  "seed_insert_people",
  `insert into users
     (username, username_key, username_skeleton, email, email_key, password_hash, bio, image, created_at, updated_at)
   select username, username_key, username_skeleton, email, email_key, password_hash, bio, image, at, at
     from json_to_recordset($1::text::json) as p (
            username text, username_key text, username_skeleton text, email text, email_key text, password_hash text,
            bio text, image text, age_s integer),
          lateral (select now() - make_interval(secs => age_s) as at) t
    order by age_s desc`,
);

const INSERT_ARTICLES = write(
  "seed_insert_articles",
  `insert into articles (author_id, slug, title, description, body, excerpt, word_count, reading_time, tag_list, created_at,
     published_at, updated_at)
   select u.id, a.slug, a.title, a.description, a.body, a.excerpt, a."wordCount", a."readingTime", a.tags, at, at, at
     from json_to_recordset($1::text::json) as a (
            author text, slug text, title text, description text, body text, excerpt text, "wordCount" integer,
            "readingTime" integer, tags text[], age_s integer)
     left join users u on u.username = a.author,
          lateral (select now() - make_interval(secs => age_s) as at) t
    order by age_s desc`,
);

const INSERT_COMMENTS = write(
  "seed_insert_comments",
  `insert into comments (article_id, author_id, body, created_at, updated_at)
   select a.id, u.id, c.body, at, at
     from json_to_recordset($1::text::json) as c (slug text, author text, body text, age_s integer)
     left join articles a on a.slug = c.slug
     left join users u on u.username = c.author,
          lateral (select now() - make_interval(secs => age_s) as at) t
    order by age_s desc`,
);

const INSERT_FOLLOWS = write(
  "seed_insert_follows",
  `insert into follows (follower_id, followee_id)
   select r.id, e.id
     from json_to_recordset($1::text::json) as f (follower text, followee text)
     left join users r on r.username = f.follower
     left join users e on e.username = f.followee`,
);

const INSERT_FAVORITES = write(
  "seed_insert_favorites",
  `insert into favorites (user_id, article_id, article_published_at, author_id)
   select u.id, a.id, a.published_at, a.author_id
     from json_to_recordset($1::text::json) as f (reader text, slug text)
     left join users u on u.username = f.reader
     left join articles a on a.slug = f.slug`,
);
