import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { skeletonOf } from "../../src/features/identity/users/names.ts";
import { readCollections } from "../../src/seed/collections.ts";
import { LOAD_READERS, LOAD_WRITERS, loadEmail } from "../../src/seed/load.ts";
import { PEOPLE } from "../../src/seed/people.ts";
import { type Login, loadSize, SEED_PASSWORD, seed } from "../../src/seed/seed.ts";
import { connect, type TestServer, testDatabase, testServer } from "../support/harness.ts";

// On a machine that does much else, the first to start PostgreSQL may take longer than Bun's 5 s.
setDefaultTimeout(60_000);

const LOAD = loadSize({ articles: "300", users: "100" });

async function seeded(size: typeof LOAD): Promise<{ server: TestServer; login: Login; token: string; said: string[] }> {
  const server = await testServer();
  const said: string[] = [];
  const login = await seed(server.address, size, (message) => said.push(message));
  return { server, login, token: await signIn(server, login.email), said };
}

async function signIn(server: TestServer, email: string): Promise<string> {
  const response = await server.request("POST", "/api/users/login", {
    body: { user: { email, password: SEED_PASSWORD } },
  });
  expect(response.status).toBe(200);
  return response.json.user.token;
}

/** Where a kept count, or what is derived from articles, differs from a recount. */
async function miscounts(address: DatabaseAddress): Promise<unknown[]> {
  return connect(address).unsafe(`
    select 'articles' as what, id::text as which from articles a
     where favorites_count <> (select count(*) from favorites where article_id = a.id)
    union all
    (select 'article_tags', t::text from (
       select tag, a.published_at, a.id, a.author_id from articles a, unnest(tag_list) as tag where status = 'published'
       except select tag, published_at, article_id, author_id from article_tags) t)
    union all
    select 'article_tags', 'too many' where (select count(*) from article_tags)
      <> (select coalesce(sum(cardinality(tag_list)), 0) from articles where status = 'published')
    union all
    (select 'tags', t::text from (
       (select tag, count(*) from article_tags group by 1 except select name, articles_count from tags) union all
       (select name, articles_count from tags except select tag, count(*) from article_tags group by 1)) t)
    union all
    (select 'author_counts', t::text from (
       (select author_id, count(*), (array_agg((published_at, id)::text order by published_at desc, id desc))[1] from articles where status = 'published' group by 1
        except select user_id, articles_count, (newest_published_at, newest_id)::text from author_counts) union all
       (select user_id, articles_count, (newest_published_at, newest_id)::text from author_counts
        except select author_id, count(*), (array_agg((published_at, id)::text order by published_at desc, id desc))[1] from articles where status = 'published' group by 1)) t)
    union all
    select 'article_totals', '' where (select sum(articles_count) from article_totals) <> (select count(*) from articles where status = 'published')
    union all
    select 'favorites', f.article_id::text from favorites f join articles a on a.id = f.article_id
     where a.author_id <> f.author_id or a.published_at <> f.article_published_at`);
}

/** Everything but times and the hash of the password, as one text. */
async function contentOf(address: DatabaseAddress): Promise<string> {
  const [row] = await connect(address).unsafe(`
    select md5((select string_agg((id, username, email, bio, image)::text, '' order by id) from users)) as users,
           md5((select string_agg((id, author_id, slug, title, description, body, tag_list, favorites_count)::text, ''
                         order by id) from articles)) as articles,
           md5((select string_agg((id, article_id, author_id, body)::text, '' order by id) from comments)) as comments,
           md5((select string_agg((follower_id, followee_id)::text, '' order by 1, 2)
                  from (select follower_id, followee_id from follows order by 1, 2) f)) as follows,
           md5((select string_agg((user_id, article_id)::text, '')
                  from (select user_id, article_id from favorites order by 1, 2) f)) as favorites`);
  return JSON.stringify(row);
}

/** Constraints, indexes and triggers, with whether they fire. */
async function schemaOf(address: DatabaseAddress): Promise<string> {
  const [row] = await connect(address).unsafe(`
    select (select string_agg(conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || convalidated,
                              E'\\n' order by conrelid::regclass::text, conname) from pg_constraint
             where connamespace = 'public'::regnamespace) as constraints,
           (select string_agg(indexdef, E'\\n' order by indexname) from pg_indexes where schemaname = 'public') as indexes,
           (select string_agg(tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text, E'\\n' order by tgrelid::regclass::text, tgname)
              from pg_trigger where not tgisinternal) as triggers`);
  return `${row.constraints}\n${row.indexes}\n${row.triggers}`;
}

describe("the demonstration content", () => {
  let seededServer: Awaited<ReturnType<typeof seeded>>;
  beforeAll(async () => {
    seededServer = await seeded(undefined);
  });

  test("is twenty-one people and some sixty articles, each found at its path with its tags and comments", async () => {
    const { server } = seededServer;
    const collections = readCollections();
    expect(collections.length).toBeGreaterThanOrEqual(60);
    expect(PEOPLE.length).toBe(21);
    const list = await server.request("GET", "/api/articles?limit=100");
    expect(list.json.articlesCount).toBe(collections.length);
    const byTitle = new Map(list.json.articles.map((article) => [article.title, article]));
    for (const expected of collections) {
      const listed = byTitle.get(expected.title);
      expect(listed?.tagList).toEqual([...expected.tags]);
      expect(listed?.author.username).toBe(expected.author);
      expect(listed?.slug).toMatch(/^[a-z0-9-]+$/);
      // A title that is nothing but what has no form in ASCII would end up with a path that says nothing.
      expect(listed?.slug).not.toMatch(/^article/);
      const comments = await server.request("GET", `/api/articles/${listed?.slug}/comments`);
      expect(comments.json.comments.map(({ author, body }) => [author.username, body])).toEqual(
        expected.comments.map(({ author, body }) => [author, body]).reverse(),
      );
    }
    const { json } = await server.request("GET", `/api/articles/${byTitle.get("Hello from the demo account")?.slug}`);
    expect(json.article.body).toStartWith("Welcome!");
    expect(json.article.body).toContain("```ts\n");
  });

  test("spreads over the past months, with nothing in the future and no comment older than its article", async () => {
    const [times] = await seededServer.server.sql.unsafe(`
      select max(a.published_at) < now() and bool_and(a.created_at = a.published_at) and max(c.created_at) < now() as past,
             max(a.created_at) - min(a.created_at) > interval '8 months' as spread,
             bool_and(c.created_at > a.created_at) as in_order, bool_and(a.created_at > u.created_at) as joined_before
        from articles a join users u on u.id = a.author_id left join comments c on c.article_id = a.id`);
    expect(times).toEqual({ past: true, spread: true, in_order: true, joined_before: true });
  });

  test("gives the printed login articles, a feed and favourites", async () => {
    const { server, login, token } = seededServer;
    expect(login).toEqual({ email: "demo@conduit.example", password: SEED_PASSWORD });
    for (const path of ["/api/articles/feed", "/api/articles?author=demo", "/api/articles?favorited=demo"]) {
      expect((await server.request("GET", path, { token })).json.articlesCount).toBeGreaterThan(1);
    }
  });

  test("has a bio for everybody, and a picture that this server serves", async () => {
    const { server } = seededServer;
    const rows = await server.sql`select username, bio, image from users`;
    expect(rows.length).toBe(PEOPLE.length);
    for (const { username, bio, image } of rows) {
      expect(bio).toBeString();
      expect(image).toBe(`http://localhost:3000/avatars/${username}.svg`);
      const picture = await fetch(server.url + new URL(image).pathname);
      expect([username, picture.status, picture.headers.get("Content-Type")]).toEqual([username, 200, "image/svg+xml"]);
    }
  });

  test("has the user that the official test suites look for", async () => {
    const { json } = await seededServer.server.request("GET", "/api/articles?author=johndoe");
    expect(json.articlesCount).toBeGreaterThan(1);
  });

  test("leaves every kept count equal to a recount", async () => {
    expect(await miscounts(seededServer.server.address)).toEqual([]);
  });

  test("is the same each time", async () => {
    const again = await testDatabase();
    await seed(again, undefined, () => {});
    expect(await contentOf(again)).toBe(await contentOf(seededServer.server.address));
  });

  test("is refused by a database that is not empty, which stays as it is", async () => {
    const { address } = seededServer.server;
    const before = await contentOf(address);
    const error = await seed(address, LOAD, () => {}).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(StartupError);
    expect((error as Error).message).toMatch(/not empty.*To start over, stop the server.*run seed again/);
    expect(await contentOf(address)).toBe(before);
  });
});

describe("the load-test data set", () => {
  let seededServer: Awaited<ReturnType<typeof seeded>>;
  beforeAll(async () => {
    seededServer = await seeded(LOAD);
  });

  test("has the size that was asked for", async () => {
    const [row] = await seededServer.server.sql.unsafe(`
      select (select count(*) from users)::integer as users, (select count(*) from articles)::integer as articles,
             (select count(*) from comments)::integer as comments,
             (select count(*) from favorites)::integer as favorites, (select count(*) from follows)::integer as follows,
             (select min(length(body)) from articles)::integer as shortest,
             (select max(length(body)) from articles)::integer as longest`);
    expect(row).toMatchObject({ users: 100, articles: 300, comments: 90 });
    // As many as there are different ones among so few, and what the named readers have.
    expect(row.favorites).toBeWithin(500, 600 + 10 + 300 + 1);
    expect(row.follows).toBeWithin(800, 1000 + 10 + 82 + 1);
    expect(row.shortest).toBeGreaterThan(700);
    expect(row.longest).toBeLessThan(8_000);
  });

  test("shows its progress", () => {
    expect(seededServer.said.join("\n")).toMatch(/users +100 .* s\n.*articles, 300 of +300 .* s\n.*Vacuuming/s);
  });

  test("leaves every kept count equal to a recount", async () => {
    expect(await miscounts(seededServer.server.address)).toEqual([]);
  });

  test("has the skeleton of every username", async () => {
    const rows = await seededServer.server.sql`select username, username_skeleton as skeleton from users`;
    for (const { username, skeleton } of rows) expect([username, skeleton]).toEqual([username, skeletonOf(username)]);
  });

  test("leaves constraints, indexes and triggers as it found them", async () => {
    expect(await schemaOf(seededServer.server.address)).toBe(await schemaOf(await testDatabase()));
  });

  test("is the same each time", async () => {
    const again = await testDatabase();
    await seed(again, LOAD, () => {});
    expect(await contentOf(again)).toBe(await contentOf(seededServer.server.address));
  });

  test("has readers who follow and favourite as many as their names say, as far as there are any", async () => {
    const { server } = seededServer;
    for (const [username, count] of Object.entries(LOAD_READERS)) {
      const [row] = await server.sql.unsafe(
        `select (select count(*) from follows where follower_id = u.id)::integer as follows,
                (select count(*) from favorites where user_id = u.id)::integer as favorites
           from users u where username = $1`,
        [username],
      );
      const ordinary = 100 - LOAD_WRITERS - Object.keys(LOAD_READERS).length;
      expect(row).toEqual({ follows: Math.min(count, ordinary), favorites: Math.min(count, 300) });
      const feed = await server.request("GET", "/api/articles/feed", {
        token: await signIn(server, loadEmail(username)),
      });
      expect(feed.json.articles).toHaveLength(20);
      expect(feed.json.articles.every(({ author }) => author.following)).toBe(true);
    }
  });

  test("is listed by tag, author and reader through the API", async () => {
    const { server, token } = seededServer;
    const all = await server.request("GET", "/api/articles?limit=100&offset=250", { token });
    expect(all.json.articlesCount).toBe(300);
    expect(all.json.articles).toHaveLength(50);
    const [top] = await server.sql.unsafe(`
      select (select name from tags order by articles_count desc, name limit 1) as tag,
             (select max(articles_count) from tags)::integer as tagged,
             (select username from users join author_counts on user_id = id order by articles_count desc, id limit 1) as author,
             (select max(articles_count) from author_counts)::integer as written`);
    expect(top.tagged).toBeGreaterThan(20);
    const byTag = await server.request("GET", `/api/articles?limit=100&tag=${encodeURIComponent(top.tag)}`);
    expect(byTag.json.articlesCount).toBe(top.tagged);
    expect(byTag.json.articles.every(({ tagList }) => tagList.includes(top.tag))).toBe(true);
    const byAuthor = await server.request("GET", `/api/articles?author=${top.author}`);
    expect(byAuthor.json.articlesCount).toBe(top.written);
    const favorited = await server.request("GET", "/api/articles?favorited=reader_10", { token });
    expect(favorited.json.articlesCount).toBe(10);
    expect(favorited.json.articles.every((article) => article.favorited)).toBe(true);
  });

  test("takes what is written after it", async () => {
    const { server, token } = seededServer;
    const author = { username: "reader_10", email: "", password: "", token, refreshToken: "" };
    const article = await server.publish(author, { title: "Written after the seed", tagList: ["after"] });
    const comment = await server.request("POST", `/api/articles/${article.slug}/comments`, {
      token,
      body: { comment: { body: "A comment" } },
    });
    expect(comment.status).toBe(201);
    await server.register("somebody-new");
    expect((await server.request("GET", "/api/articles?tag=after")).json.articlesCount).toBe(1);
    await server.request("DELETE", `/api/articles/${article.slug}`, { token });
    expect(await miscounts(server.address)).toEqual([]);
  });
});

describe("conduit seed", () => {
  test("seeds the database, prints a login, refuses to do it twice, and says what is wrong with its flags", async () => {
    const address = await testDatabase();
    const first = conduit(address, "seed");
    expect(await first.exited).toBe(0);
    expect(await first.stdout.text()).toEndWith(
      `Sign in with email demo@conduit.example and password "${SEED_PASSWORD}".\n`,
    );
    for (const [args, error] of [
      [["seed"], /^The database is not empty.*nothing was changed.*\n$/],
      [["seed", "--articles=many"], /^--articles must be a whole number from 100 to 10000000, not "many"\n$/],
      [["seed", "--users=500"], /^--users goes with --articles/],
      [["migrate", "--articles=500"], /^The command migrate has no flag --articles/],
    ] as const) {
      const failing = conduit(address, ...args);
      expect(await failing.exited).toBe(1);
      expect(await failing.stderr.text()).toMatch(error);
    }
  });
});

function conduit(address: DatabaseAddress, ...args: string[]) {
  const { socketPath, username, password, hostname, port, database } = address;
  const host = socketPath === undefined ? "" : `?host=${encodeURIComponent(socketPath.replace(/\/[^/]+$/, ""))}`;
  const account = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
  return Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), ...args], {
    env: {
      ...process.env,
      DATABASE_URL: `postgres://${account}@${hostname}:${port}/${database}${host}`,
      LOG_LEVEL: "",
    },
    stdout: "pipe",
    stderr: "pipe",
  });
}
