import type { SQL } from "bun";
import type { Queries } from "../db/pool.ts";
import { type Parameters, positional, read, type Statement, textArray, write } from "../db/statements.ts";
import { indexArticles } from "../features/articles/search/indexing.ts";
import { WORDS_PER_MINUTE } from "../features/articles/text-facts.ts";
import { ASPECTS, ENDINGS, FIRST_NAMES, LAST_NAMES, OPENINGS, REMARKS, TOPICS } from "./words.ts";

/** The size of a load-test data set. Everything else in it is in proportion to these. */
export type LoadSize = { readonly articles: number; readonly users: number };

/** Readers with fixed names, with this number of favourites and follows each, or all that exist if they are fewer. */
export const LOAD_READERS = { reader_10: 10, reader_1000: 1_000 } as const;

/** Accounts `writer_1`, `writer_2`, … without articles, favourites and follows. */
export const LOAD_WRITERS = 16;

const NAMED_USERS = Object.keys(LOAD_READERS).length + LOAD_WRITERS;
export const LOAD_USERS_MIN = 2 * NAMED_USERS;

/** The email of an account of the load-test data set. All accounts have the same password. */
export const loadEmail = (username: string): string => `${username}@conduit.example`;

const BATCH = 100_000;

/**
 * Fills the empty tables with set-based statements. The same size gives the same content: what looks random is a hash of
 * the row's number. Authors, tags, favourites, readers and followers follow Zipf's law.
 *
 * Triggers, foreign keys, exclusion constraints and indexes are removed during the load, and the derived tables are filled
 * once at the end.
 */
export async function insertLoadData(
  tx: SQL,
  size: LoadSize,
  { paragraphs, passwordHash }: { paragraphs: readonly string[]; passwordHash: string },
  onProgress: (message: string) => void,
): Promise<void> {
  const ordinary = size.users - NAMED_USERS;
  const tags = Math.max(Math.round(size.articles / 20), 10);
  const readers = Object.values(LOAD_READERS).map((count, i) => [ordinary + 1 + i, count] as const);
  const run = <Row>(statement: Statement<Row>, parameters: Parameters = []) =>
    tx.unsafe(statement.text, [...positional(statement, parameters)]) as unknown as Promise<Row[]>;
  const step = async (what: string, rows: number, work: () => Promise<unknown>) => {
    const started = performance.now();
    await work();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    onProgress(
      `${what.padEnd(28)} ${rows === 0 ? "" : rows.toLocaleString("en").padStart(11)} ${seconds.padStart(7)} s`,
    );
  };

  const constraints = await run(CONSTRAINTS);
  const indexes = await run(INDEXES, [textArray(TABLES)]);
  for (const { relation, name } of constraints) await tx.unsafe(`alter table ${relation} drop constraint ${name}`);
  for (const { name } of indexes) await tx.unsafe(`drop index ${name}`);
  for (const table of TABLES) await tx.unsafe(`alter table ${table} disable trigger user`);

  await step("users", size.users, async () => {
    await run(USERS, {
      count: ordinary,
      firstNames: textArray(FIRST_NAMES),
      lastNames: textArray(LAST_NAMES),
      topics: textArray(TOPICS),
      passwordHash,
    });
    const named = [...Object.keys(LOAD_READERS), ...Array.from({ length: LOAD_WRITERS }, (_, i) => `writer_${i + 1}`)];
    await run(NAMED, [ordinary, textArray(named), passwordHash]);
  });

  const [favorites, follows, comments] = [2 * size.articles, 10 * size.users, Math.round(0.3 * size.articles)];
  await step("favourites", favorites, async () => {
    await run(FAVORITES, [favorites, size.articles, ordinary]);
    for (const [reader, wanted] of readers) {
      const count = Math.min(wanted, size.articles);
      await run(READERS_FAVORITES, { reader, count, articles: size.articles, users: ordinary });
    }
    await tx.unsafe("analyze favorites");
  });
  for (let from = 1; from <= size.articles; from += BATCH) {
    const to = Math.min(from + BATCH - 1, size.articles);
    await step(`articles, ${to.toLocaleString("en")} of`, size.articles, () =>
      run(ARTICLES, {
        from,
        to,
        articles: size.articles,
        users: ordinary,
        tags,
        topics: textArray(TOPICS),
        aspects: textArray(ASPECTS),
        openings: textArray(OPENINGS),
        endings: textArray(ENDINGS),
        paragraphs: textArray(paragraphs),
      }),
    );
  }

  await step("follows", follows, async () => {
    await run(FOLLOWS, [follows, ordinary]);
    for (const [reader, count] of readers) await run(READERS_FOLLOWS, [reader, Math.min(count, ordinary), ordinary]);
  });
  await step("comments", comments, () =>
    run(COMMENTS, { count: comments, articles: size.articles, users: ordinary, remarks: textArray(REMARKS) }),
  );
  await step("tags of articles", 0, () => run(ARTICLE_TAGS));
  await step("counts", 0, async () => {
    for (const count of COUNTS) await run(count);
  });

  for (let from = 1; from <= size.articles; from += BATCH) {
    const to = Math.min(from + BATCH - 1, size.articles);
    await step(`search, ${to.toLocaleString("en")} of`, size.articles, async () => {
      for (let first = from; first <= to; first += SEARCH_BATCH) {
        const count = Math.min(SEARCH_BATCH, to - first + 1);
        await indexArticles(
          queriesOf(tx),
          Array.from({ length: count }, (_, i) => String(first + i)),
        );
      }
    });
  }
  await step("indexes", 0, async () => {
    for (const { definition } of indexes) await tx.unsafe(definition);
  });
  await step("constraints", 0, async () => {
    for (const { relation, name, definition } of constraints) {
      await tx.unsafe(`alter table ${relation} add constraint ${name} ${definition}`);
    }
  });
  for (const table of TABLES) await tx.unsafe(`alter table ${table} enable trigger user`);
  for (const table of ["users", "articles", "comments"]) {
    await tx.unsafe(`select setval(pg_get_serial_sequence('${table}', 'id'), max(id)) from ${table}`);
  }
}

/** Articles are cleaned for search by the program, not by set-based statements. */
const SEARCH_BATCH = 500;

function queriesOf(tx: SQL): Queries {
  const rows: Queries["rows"] = async (statement, parameters) =>
    (await tx.unsafe(statement.text, [...positional(statement, parameters)])) as never;
  return { rows, row: async (statement, parameters) => (await rows(statement, parameters))[0] };
}

/** Every table that the seed fills. */
export const TABLES = [
  "users",
  "follows",
  "articles",
  "favorites",
  "comments",
  "article_tags",
  "tags",
  "author_counts",
  "article_totals",
  "article_search",
  "search_words",
] as const;

/**
 * Foreign keys and exclusion constraints. Adding them at the end checks all rows together, which takes a third of the time of
 * checking row by row.
 */
const CONSTRAINTS = read<{ relation: string; name: string; definition: string }>(
  "seed_constraints",
  `select conrelid::regclass::text as relation, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
     from pg_constraint
    where contype in ('f', 'x') and connamespace = current_schema()::regnamespace
      and conrelid = any (array['users', 'follows', 'articles', 'favorites', 'comments']::regclass[])
    order by conname`,
);

/** Indexes without a constraint. Building them at the end is faster, and makes them denser, than adding row by row. */
const INDEXES = read<{ name: string; definition: string }>(
  "seed_indexes",
  `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
     from pg_index i
    where indrelid = any ($1::text[]::regclass[])
      and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))
    order by 1`,
);

/** A number in [0, 1) that looks random and is the same for the same key. */
const chance = (key: string, purpose: number): string =>
  `((hashint8extended(${key}, ${purpose}) & 4503599627370495)::float8 / 4503599627370496)`;

/** One of the elements of an array. */
const oneOf = (array: string, key: string, purpose: number): string =>
  `(${array})[1 + floor(cardinality(${array}) * ${chance(key, purpose)})::integer]`;

/**
 * A rank from 1 to `count` whose probability falls with the rank (Zipf–Mandelbrot, exponent 1).
 * @param flatness 1 is Zipf's law; a larger number makes the first ranks stand out less
 */
const zipf = (count: string, flatness: number, key: string, purpose: number): string =>
  `least(${count}, 1 - ${flatness} + floor(${flatness} * exp(
    ${chance(key, purpose)} * ln((${count} + ${flatness})::float8 / ${flatness})))::bigint)`;

/** Maps ranks to ids, one to one because 2,147,483,647 is prime, so that popular articles are not the oldest ones. */
const scattered = (rank: string, count: string): string => `(1 + (${rank}) * 2147483647 % ${count})`;

/** The skeleton (users/names.ts) of a name of lower-case letters, digits, hyphens and underscores. */
const skeletonOfAscii = (name: string): string => `replace(translate(${name}, '01i', 'oll'), 'm', 'rn')`;

const USERS = write(
  "seed_users",
  `insert into users
     (id, username, username_key, username_skeleton, email, email_key, password_hash, bio, image, created_at, updated_at)
   overriding system value
   select id, name, name, ${skeletonOfAscii("name")}, name || '@conduit.example', name || '@conduit.example', :passwordHash,
          case when ${chance("id", 3)} < 0.7 then
            'Writes about ' || ${oneOf(":topics::text[]", "id", 4)} || ', reads about ' || ${oneOf(":topics::text[]", "id", 5)} || '.' end,
          case when ${chance("id", 6)} < 0.7 then 'https://images.conduit.example/people/' || id || '.jpg' end,
          created_at, created_at
     from (select id, ${oneOf(":firstNames::text[]", "id", 1)} || '-' || ${oneOf(":lastNames::text[]", "id", 2)} || '-' || id as name,
                  now() - interval '4 years' + interval '2 years' * (id::float8 / :count::bigint) as created_at
             from generate_series(1, :count::bigint) as id) u`,
);

const NAMED = write(
  "seed_named_users",
  `insert into users
     (id, username, username_key, username_skeleton, email, email_key, password_hash, created_at, updated_at)
   overriding system value
   select $1::bigint + i, name, name, ${skeletonOfAscii("name")}, name || '@conduit.example', name || '@conduit.example', $3,
          now() - interval '2 years', now() - interval '2 years'
     from unnest($2::text[]) with ordinality as n (name, i)`,
);

/** Articles are published one after the other over the last two years. */
const publishedAt = (id: string, articles: string): string =>
  `(now() - interval '2 years' * ((${articles} - ${id} + ${chance(id, 11)}) / ${articles}))::timestamptz(3)`;

const authorOf = (id: string, users: string): string => zipf(users, 20, id, 12);

// Filled before the articles, so that these are written once, with their counts. It draws a tenth more than it needs,
// because readers often draw the same popular article twice.
const FAVORITES = write(
  "seed_favorites",
  `insert into favorites (user_id, article_id, article_published_at, author_id)
   select user_id, article_id, ${publishedAt("article_id", "$2::bigint")}, ${authorOf("article_id", "$3::bigint")}
     from (select user_id, article_id
             from (select distinct ${zipf("$3::bigint", 50, "n", 31)} as user_id,
                          ${scattered(zipf("$2::bigint", 50, "n", 32), "$2::bigint")} as article_id
                     from generate_series(1, $1::bigint * 11 / 10) as n) drawn
            order by hashint8extended(user_id, 33) # hashint8extended(article_id, 34), user_id, article_id
            limit $1::bigint) f
    order by 1, 3, 2`,
);

// Evenly spread.
const READERS_FAVORITES = write(
  "seed_readers_favorites",
  `insert into favorites (user_id, article_id, article_published_at, author_id)
   select :reader::bigint, id, ${publishedAt("id", ":articles::bigint")}, ${authorOf("id", ":users::bigint")}
     from (select 1 + n * :articles::bigint / :count::bigint as id from generate_series(0, :count::bigint - 1) as n) a
    order by 3, 2`,
);

// One in ten was edited later. Counts what is between spaces as words, except for the mark of the heading, and takes the first
// paragraph as the excerpt.
const ARTICLES = write(
  "seed_articles",
  `insert into articles (id, author_id, slug, title, description, body, tag_list, created_at, published_at, updated_at,
     favorites_count, word_count, reading_time, excerpt)
   overriding system value
   select w.*, words, ceil(words / ${WORDS_PER_MINUTE}.0), left(split_part(body, E'\\n\\n', 2), 199) || '…'
     from (select id, author_id,
          regexp_replace(replace(lower(title), '''', ''), '[^a-z0-9]+', '-', 'g') || '-' || id,
          title,
          left(${oneOf(":paragraphs::text[]", "id", 22)}, 100 + (id % 60)::integer) || ' …',
          '## ' || title || E'\\n\\n' || (
            select string_agg(${oneOf(":paragraphs::text[]", "id * 8 + part", 23)}, E'\\n\\n' order by part)
              from generate_series(1, 3 + (4 * ${chance("id", 13)})::integer) as part) as body,
          array(
            select distinct case
                when rank <= cardinality(:topics::text[]) then (:topics::text[])[rank]
                else (:topics::text[])[1 + rank % cardinality(:topics::text[])] || '-'
                  || (:aspects::text[])[1 + rank / cardinality(:topics::text[]) % cardinality(:aspects::text[])]
                  || case when rank / cardinality(:topics::text[]) < cardinality(:aspects::text[]) then '' else '-' || rank end
              end
              from generate_series(1, (5 * ${chance("id", 14)})::integer) as n,
                   lateral (select ${zipf(":tags::bigint", 2, "id * 8 + n", 15)}::integer as rank) t),
          published_at, published_at,
          case when id % 10 = 0 then published_at + (now() - published_at) * ${chance("id", 16)} else published_at end,
          coalesce(favorites, 0)
     from (select id, ${authorOf("id", ":users::bigint")} as author_id,
                  ${oneOf(":openings::text[]", "id", 18)} || ' ' || ${oneOf(":topics::text[]", "id", 19)} || ' '
                    || ${oneOf(":endings::text[]", "id", 20)} as title,
                  ${publishedAt("id", ":articles::bigint")} as published_at
             from generate_series(:from::bigint, :to::bigint) as id) a
     left join (select article_id, count(*)::integer as favorites
                  from favorites where article_id between :from::bigint and :to::bigint group by 1) f on f.article_id = a.id
    order by id) w,
    lateral (select cardinality(string_to_array(replace(body, E'\\n\\n', ' '), ' ')) - 1 as words) c`,
);

const FOLLOWS = write(
  "seed_follows",
  `insert into follows (follower_id, followee_id)
   select follower_id, followee_id
     from (select follower_id, followee_id
             from (select distinct 1 + floor($2::bigint * ${chance("n", 41)})::bigint as follower_id,
                          ${zipf("$2::bigint", 20, "n", 42)} as followee_id
                     from generate_series(1, $1::bigint * 11 / 10) as n) drawn
            where follower_id <> followee_id
            order by hashint8extended(follower_id, 43) # hashint8extended(followee_id, 44), follower_id, followee_id
            limit $1::bigint) f
    order by 1, 2`,
);

// Evenly spread: among them the most prolific authors, and many of one article.
const READERS_FOLLOWS = write(
  "seed_readers_follows",
  `insert into follows (follower_id, followee_id)
   select $1::bigint, 1 + n * $3::bigint / $2::bigint from generate_series(0, $2::bigint - 1) as n`,
);

const COMMENTS = write(
  "seed_comments",
  `insert into comments (id, article_id, author_id, body, created_at, updated_at)
   overriding system value
   select n, article_id, author_id, body, written_at, written_at
     from (select n, article_id, ${zipf(":users::bigint", 50, "n", 52)} as author_id,
                  ${oneOf(":remarks::text[]", "n", 53)} || ' ' || ${oneOf(":remarks::text[]", "n", 54)} as body,
                  published_at + (now() - published_at) * ${chance("n", 55)} as written_at
             from (select n, article_id, ${publishedAt("article_id", ":articles::bigint")} as published_at
                     from (select n, ${scattered(zipf(":articles::bigint", 50, "n", 51), ":articles::bigint")} as article_id
                             from generate_series(1, :count::bigint) as n) d) d) d
    order by n`,
);

const ARTICLE_TAGS = write(
  "seed_article_tags",
  `insert into article_tags (tag, published_at, article_id, author_id)
   select tag collate "C", a.published_at, a.id, a.author_id
     from articles a, unnest(a.tag_list) as tag
    order by 1, 2, 3`,
);

const COUNTS = [
  write(
    "seed_tags",
    `insert into tags (name, articles_count, last_used_at)
     select tag, count(*), max(published_at) from article_tags group by tag order by tag`,
  ),
  write(
    "seed_author_counts",
    `insert into author_counts (user_id, articles_count, newest_published_at, newest_id)
     select author_id, articles, published_at, id
       from (select author_id, published_at, id, count(*) over (partition by author_id) as articles,
                    row_number() over (partition by author_id order by published_at desc, id desc) as place
               from articles) a
      where place = 1`,
  ),
  write(
    "seed_article_totals",
    "update article_totals set articles_count = articles_count + (select count(*) from articles) where slot = 0",
  ),
];
