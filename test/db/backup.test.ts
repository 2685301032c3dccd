import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { chmod, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { restoreBackup, writeBackup } from "../../src/db/backup.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connect, type TestServer, type TestUser, testDatabase, testServer } from "../support/harness.ts";
import { jobsOf } from "../support/jobs.ts";

let folder: string;
let server: TestServer;
let ann: TestUser;
let bob: TestUser;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "conduit-backup-"));
  server = await testServer();
  ann = await server.register("ann");
  bob = await server.register("bob");
  const carl = await server.register("carl");
  await server.request("PUT", "/api/user", {
    token: bob.token,
    body: { user: { bio: "a\tb\n\"c\" \\d, {e} 'f' 😀" } },
  });
  const first = await server.publish(ann, {
    title: "Ünïcode 😀",
    body: 'tab\there "quoted" \\N {}',
    tagList: ["a, b", '"c"'],
  });
  const second = await server.publish(bob, { tagList: ["a, b"] });
  const gone = await server.publish(ann, { title: "Gone" });
  for (const [who, slug] of [
    [bob, first.slug],
    [carl, first.slug],
    [ann, second.slug],
  ] as const) {
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: who.token });
    await server.request("POST", `/api/articles/${slug}/comments`, {
      token: who.token,
      body: { comment: { body: "So it is" } },
    });
  }
  await server.request("POST", "/api/profiles/ann/follow", { token: bob.token });
  // So that the next numbers are not one more than the highest there.
  await server.request("DELETE", `/api/articles/${gone.slug}`, { token: ann.token });
  await server.sql`delete from users where username = 'carl'`;
}, 30_000);
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

let files = 0;
const newFile = () => join(folder, `${++files}.backup`);

async function backupOf(address: DatabaseAddress): Promise<string> {
  const file = newFile();
  await writeBackup(address, migrations, "1.2.3", file);
  return file;
}

const restoreInto = (address: DatabaseAddress, file: string) => restoreBackup(address, migrations, file, 5_000);

/**
 * Every row of every table, but for the search index and the time at which a migration ran, and the state of every identity
 * column.
 */
async function contents(address: DatabaseAddress): Promise<Record<string, unknown>> {
  const sql = connect(address, 1);
  const tables =
    (await sql`select relname from pg_class where relkind in ('r', 'S') and relnamespace = 'public'::regnamespace
      and relname not in ('article_search', 'search_queue', 'search_queue_id_seq', 'search_words')
    order by relname`) as { relname: string }[];
  const found: Record<string, unknown> = {};
  for (const { relname } of tables) {
    const columns = relname === "schema_migrations" ? "version, file, checksum" : "*";
    const name = relname.endsWith("_seq")
      ? `(select last_value, is_called from ${relname})`
      : `(select ${columns} from ${relname})`;
    found[relname] = await sql.unsafe(`select to_jsonb(t)::text as row from ${name} t order by 1`);
  }
  await sql.close();
  return found;
}

/** What the schema is beyond its tables: triggers that are on, and keys that are checked at once. */
async function guards(address: DatabaseAddress): Promise<unknown> {
  const sql = connect(address, 1);
  const found = await sql`
    select tgname as name, tgenabled::text as state from pg_trigger where not tgisinternal
    union all select conname, condeferrable::text from pg_constraint where contype = 'f' order by 1`;
  await sql.close();
  return found;
}

describe("a backup", () => {
  test("restored into an empty database has every row, generated columns, counts and next numbers", async () => {
    const file = await backupOf(server.address);
    const copy = await testDatabase({ migrated: false });
    const report = await restoreInto(copy, file);
    expect(report.rows).toMatchObject({ users: 2, articles: 2, comments: 2, favorites: 2, follows: 1 });
    expect(await contents(copy)).toEqual(await contents(server.address));
    const sql = connect(copy, 1);
    expect(await sql`select id from articles where id not in (select article_id from search_queue)`).toEqual([]);
    await sql.close();
    expect(await guards(copy)).toEqual(await guards(server.address));
    expect((await guards(copy)) as unknown[]).not.toBeEmpty();
  });

  test("can be served and written to, with triggers that count on from there", async () => {
    const file = await backupOf(server.address);
    // Migrated already, as by a server that was started once.
    const copy = await testServer({ address: await testDatabase() });
    await restoreInto(copy.address, file);
    const login = await copy.request("POST", "/api/users/login", {
      body: { user: { email: ann.email, password: ann.password } },
    });
    expect(login.status).toBe(200);
    const token = login.json.user.token;
    const published = await copy.request("POST", "/api/articles", {
      token,
      body: { article: { title: "New", description: "New", body: "New", tagList: ["a, b"] } },
    });
    expect(published.status).toBe(201);
    expect((await copy.request("GET", "/api/articles")).json.articlesCount).toBe(3);
    expect((await copy.request("GET", "/api/articles?tag=a,%20b")).json.articlesCount).toBe(3);
    expect((await copy.request("GET", "/api/articles?author=ann")).json.articlesCount).toBe(2);
    const [ids] = await copy.sql`select max(id)::integer as id from articles`;
    expect(ids.id).toBe(4);
    await copy.stop();
  });

  test("has no jobs, and restoring it removes those that wait in the database", async () => {
    const waiting = async (address: DatabaseAddress) => (await jobsOf(connect(address), "mail")).length;
    expect(await waiting(server.address)).toBe(3);
    const file = await backupOf(server.address);
    expect(gunzipSync(readFileSync(file)).toString()).not.toContain("messageId");
    const copy = await testDatabase();
    await connect(copy)`select graphile_worker.add_job('mail', '{"to": "left@example.com"}')`;
    await restoreInto(copy, file);
    expect(await waiting(copy)).toBe(0);
  });

  test("is of one moment, whatever is written meanwhile", async () => {
    const author = await server.sql.reserve();
    let writing: Promise<string>;
    await author`begin`;
    try {
      // Read after articles: the backup stops there, half done, while an article is published.
      await author`lock table author_counts in access exclusive mode`;
      writing = backupOf(server.address);
      for (let waits = false; !waits; await Bun.sleep(10)) {
        [{ waits }] = (await server.sql`select exists (
          select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') as waits`) as [
          { waits: boolean },
        ];
      }
      await author`insert into articles (author_id, slug, title, description, body)
        select id, 'meanwhile', 'Meanwhile', 'x', 'x' from users where username = 'ann'`;
      await author`commit`;
    } finally {
      author.release();
    }
    const copy = await testDatabase({ migrated: false });
    await restoreInto(copy, await writing);
    const [counts] = await connect(copy, 1)`
      select (select count(*)::integer from articles where slug = 'meanwhile') as meanwhile,
             (select count(*) from articles) = (select sum(articles_count) from article_totals) as all,
             (select count(*) from articles) = (select sum(articles_count) from author_counts) as authors,
             (select max(id) from articles) <= (select last_value from articles_id_seq) as numbers`;
    expect(counts).toEqual({ meanwhile: 0, all: true, authors: true, numbers: true });
    await server.sql`delete from articles where slug = 'meanwhile'`;
  });

  test("of an older schema is brought up to date", async () => {
    const old = await testDatabase({ migrated: false });
    await migrate(old, migrations.slice(0, 1), 5_000);
    const sql = connect(old, 1);
    await sql`insert into users (username, username_key, username_skeleton, email, email_key, password_hash) values ('old', 'old', 'old', 'o@x.y', 'o@x.y', 'x')`;
    const file = await backupOf(old);
    const copy = await testDatabase({ migrated: false });
    await restoreInto(copy, file);
    const [state] = await connect(copy, 1)`
      select (select count(*)::integer from schema_migrations) as steps, (select username from users) as username`;
    expect(state).toEqual({ steps: migrations.length, username: "old" });
    // The other way round it would not fit.
    expect(restoreInto(await testDatabase(), file)).rejects.toThrow("newer schema than the backup");
  });

  test("is its owner's alone to read, and never written over another", async () => {
    const file = await backupOf(server.address);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await expect(writeBackup(server.address, migrations, "1.2.3", file)).rejects.toThrow("exists already");
  });

  test("leaves no file behind where it fails", async () => {
    const file = newFile();
    await expect(writeBackup(await testDatabase({ migrated: false }), migrations, "1.2.3", file)).rejects.toThrow(
      "no schema",
    );
    expect([...new Bun.Glob(`${files}.backup*`).scanSync(folder)]).toEqual([]);
  });
});

describe("restoring refuses", () => {
  let file: string;
  let empty: DatabaseAddress;
  beforeAll(async () => {
    file = await backupOf(server.address);
    empty = await testDatabase({ migrated: false });
  });

  test("a database with accounts", async () => {
    await expect(restoreInto(server.address, file)).rejects.toThrow("The database already has users");
  });

  test("a database of another program", async () => {
    const other = await testDatabase({ migrated: false });
    await connect(other, 1)`create table users (name text)`;
    await expect(restoreInto(other, file)).rejects.toThrow("tables of another program");
  });

  const whole = () => gunzipSync(readFileSync(file)).toString();
  test.each<[string, (text: string) => string, string]>([
    ["a backup with a changed row", (text) => text.replace("So it is", "So it was"), "its checksum does not match"],
    ["a backup without its end", (text) => text.slice(0, text.lastIndexOf('{"sha256"')), "it ends before the checksum"],
    ["a backup cut in a line", (text) => text.slice(0, -5), "its last line is incomplete"],
    ["a backup that goes on", (text) => `${text}["1"]\n`, "it has more lines after the checksum"],
    ["another file", () => '{"a":1}\n', "its first line is not that of a backup"],
    [
      "a backup of a newer format",
      (text) => text.replace('"version":1', '"version":2'),
      "written by a newer version of Conduit",
    ],
  ])("%s, before anything is changed", async (_what, change, message) => {
    const changed = newFile();
    await Bun.write(changed, gzipSync(change(whole())));
    await expect(restoreInto(empty, changed)).rejects.toThrow(message);
    expect(await contents(empty)).toEqual({});
  });

  test("a file that is cut off", async () => {
    const bytes = await Bun.file(file).bytes();
    const cut = newFile();
    await Bun.write(cut, bytes.slice(0, bytes.length - 20));
    await expect(restoreInto(empty, cut)).rejects.toThrow("is not a complete backup");
  });

  test("a backup of a newer Conduit", async () => {
    await expect(restoreBackup(empty, migrations.slice(0, 1), file, 5_000)).rejects.toThrow(
      "belongs to a newer version of Conduit",
    );
  });

  test("a file that is not there", async () => {
    await expect(restoreInto(empty, join(folder, "none"))).rejects.toThrow("ENOENT");
  });
});

test("conduit backup works beside a running server, and conduit restore makes another one of it", async () => {
  const main = join(import.meta.dir, "../../src/main.ts");
  const run = (args: string[], dataDir: string) =>
    Bun.spawn([process.execPath, main, ...args], {
      env: {
        PATH: process.env.PATH ?? "",
        DATA_DIR: join(folder, dataDir),
        PORT: "0",
        HOST: "127.0.0.1",
        LOG_LEVEL: "warn",
        LOG_FORMAT: "pretty",
      },
      stdout: "pipe",
      stderr: "pipe",
    });
  const serve = async (dataDir: string) => {
    const process = run(["serve"], dataDir);
    let out = "";
    for await (const chunk of process.stdout) {
      out += new TextDecoder().decode(chunk);
      if (out.includes("Server is running on ")) break;
    }
    return { process, url: /running on (\S+)/.exec(out)?.[1] as string };
  };
  await chmod(folder, 0o755);
  const file = newFile();
  const original = await serve("original");
  try {
    const user = { username: "ann", email: "ann@example.com", password: "correct horse" };
    const headers = { "Content-Type": "application/json" };
    await fetch(`${original.url}/api/users`, { method: "POST", headers, body: JSON.stringify({ user }) });
    const backup = run(["backup", file], "original");
    expect([await backup.stderr.text(), await backup.exited]).toEqual(["", 0]);
    expect(await backup.stdout.text()).toContain("1 users, 0 articles");
    const restore = run(["restore", file], "original");
    expect(await restore.exited).toBe(1);
    expect(await restore.stderr.text()).toContain("A server is running on");
  } finally {
    original.process.kill();
    await original.process.exited;
  }

  const restore = run(["restore", file], "copy");
  expect(await restore.stdout.text()).toContain("Restored 1 users");
  expect(await restore.exited).toBe(0);
  const copy = await serve("copy");
  try {
    expect((await fetch(`${copy.url}/api/profiles/ann`)).status).toBe(200);
  } finally {
    copy.process.kill();
    await copy.process.exited;
  }

  const missing = run(["backup"], "copy");
  expect(await missing.exited).toBe(1);
  expect(await missing.stderr.text()).toBe("Usage: conduit backup FILE\n");
}, 60_000);
