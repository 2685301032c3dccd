import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { migrate } from "../../src/db/migrations.ts";
import { indexNext } from "../../src/features/articles/search/indexing.ts";
import { backUp, contents, guards, pauseBackups, restoreInto } from "../support/backup.ts";
import { conduit, stopCommands } from "../support/command.ts";
import { connect, type TestServer, type TestUser, testDatabase, testServer } from "../support/harness.ts";
import { jobsOf } from "../support/jobs.ts";
import { untilWaiting } from "../support/locks.ts";
import { startProxy } from "../support/proxy.ts";
import { expectExact } from "../support/recounts.ts";
import { databaseUrl } from "../support/serve.ts";
import { until } from "../support/until.ts";

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
  await server.publish(ann, { title: "A draft", status: "draft" });
  const publishAt = new Date(Date.now() + 3_600_000).toISOString();
  await server.publish(bob, { title: "Scheduled", status: "scheduled", publishAt });
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
  // A revision, a former slug and a former name.
  const edited = { article: { title: "Ünïcode again 😀", body: "short" } };
  await server.request("PUT", `/api/articles/${first.slug}`, { token: ann.token, body: edited });
  await server.request("PUT", "/api/user", { token: bob.token, body: { user: { username: "bobby" } } });
  await server.request("PUT", "/api/user", { token: bob.token, body: { user: { username: "bob" } } });
  // So that the next numbers are not one more than the highest there.
  await server.request("DELETE", `/api/articles/${gone.slug}`, { token: ann.token });
  await server.sql`delete from users where username = 'carl'`;
}, 60_000);
afterAll(async () => {
  await stopCommands();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

let files = 0;
const newFile = () => join(folder, `${++files}.backup`);

async function backupOf(address: DatabaseAddress): Promise<string> {
  const file = newFile();
  await backUp(address, file);
  return file;
}

describe("a backup", () => {
  test("has former versions, slugs and names, which the next test compares", async () => {
    const rows = await contents(server.address);
    for (const table of ["article_revisions", "former_slugs", "former_usernames"]) expect(rows[table]).not.toEqual([]);
  });

  test("restored into an empty database has every row, generated columns, counts and next numbers", async () => {
    const file = await backupOf(server.address);
    const copy = await testDatabase({ migrated: false });
    const report = await restoreInto(copy, file, []);
    expect(report.rows).toMatchObject({ users: 2, articles: 4, comments: 2, favorites: 2, follows: 1 });
    expect(await contents(copy)).toEqual(await contents(server.address));
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
    expect((await copy.request("GET", "/api/user/articles", { token })).json.articles[0]?.title).toBe("A draft");
    const [ids] = await copy.sql`select max(id)::integer as id from articles`;
    expect(ids.id).toBe(6);
    await copy.stop();
  });

  test("has no search index, and a restore lets the server index every article", async () => {
    const copy = await testServer({ address: await testDatabase({ migrated: false }) });
    await restoreInto(copy.address, await backupOf(server.address));
    expect((await copy.request("GET", "/api/search?q=unicode")).json.articlesCount).toBe(0);
    while ((await indexNext(copy.db)) > 0);
    expect((await copy.request("GET", "/api/search?q=unicode")).json.articlesCount).toBe(1);
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
    const pause = await pauseBackups(server);
    const writing = backupOf(server.address);
    // Rows of articles are read before those of author_counts.
    await pause.waiting();
    await pause.run`insert into articles (author_id, slug, title, description, body)
      select id, 'meanwhile', 'Meanwhile', 'x', 'x' from users where username = 'ann'`;
    await pause.end();
    const copy = await testServer({ address: await testDatabase({ migrated: false }) });
    await restoreInto(copy.address, await writing);
    await expectExact(copy);
    const [counts] = await copy.sql`
      select (select count(*)::integer from articles where slug = 'meanwhile') as meanwhile,
             (select max(id) from articles) <= (select last_value from articles_id_seq) as numbers`;
    expect(counts).toEqual({ meanwhile: 0, numbers: true });
    await server.sql`delete from articles where slug = 'meanwhile'`;
  });

  test("waits for a migration that changes a table, and then has its rows, or fails", async () => {
    const changing = await testServer();
    await changing.register("ann");
    const migration = await changing.sql.reserve();
    await migration`begin`;
    // Rewrites the table, which then looks empty in a snapshot from before.
    await migration`alter table users alter column bio type text using bio || ''`;
    const writing = backupOf(changing.address);
    await untilWaiting(changing.sql, 1);
    await migration`commit`;
    expect(gunzipSync(readFileSync(await writing)).toString()).toContain("$argon2id$");

    await migration`begin`;
    await migration`alter table users add column extra text`;
    const disturbed = backupOf(changing.address).catch((error) => error);
    await untilWaiting(changing.sql, 1);
    await migration`commit`;
    migration.release();
    expect((await disturbed).message).toBe("The schema has just changed. Try again.");
    await changing.stop();
  });

  test("gives up a lock that lasts too long, and a database that does not respond, and leaves no file", async () => {
    const file = newFile();
    const migration = await server.sql.reserve();
    await migration`begin`;
    await migration`lock table users in access exclusive mode`;
    await expect(backUp(server.address, file, { lockMs: 100 })).rejects.toThrow(
      "Another transaction has locked a table for too long. Try again later.",
    );
    await migration`rollback`;
    migration.release();

    const proxy = startProxy(server.address);
    const pause = await pauseBackups(server);
    const writing = backUp(proxy.address, file, { responseMs: 1_000 }).catch((error) => error);
    await pause.waiting();
    // Not even PostgreSQL's report that the statement took too long arrives.
    proxy.hang();
    expect((await writing).message).toMatch(/closed/i);
    await pause.end();
    await expect(backUp(proxy.address, file, { connectMs: 500 })).rejects.toThrow(/timeout/i);
    proxy.stop();
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.endsWith(".draft"))).toEqual([]);
  });

  test("is exact while many clients write", async () => {
    const busy = await testServer();
    const author = await busy.register("author");
    let isOver = false;
    let published = 0;
    const clients = Array.from({ length: 4 }, async (_, client) => {
      while (!isOver) {
        const { slug } = await busy.publish(author, { title: `Article ${client}`, tagList: [`tag ${client}`] });
        await busy.request("POST", `/api/articles/${slug}/favorite`, { token: author.token });
        if (published++ % 3 === 0) await busy.request("DELETE", `/api/articles/${slug}`, { token: author.token });
      }
    });
    const counts: number[] = [];
    try {
      for (let i = 0; i < 3; i++) {
        const before = published;
        await until(() => published > before + 10);
        const copy = await testServer({ address: await testDatabase({ migrated: false }) });
        const { rows } = await restoreInto(copy.address, await backupOf(busy.address));
        await expectExact(copy);
        counts.push(rows.articles ?? 0);
        await copy.stop();
      }
    } finally {
      isOver = true;
      await Promise.all(clients);
    }
    expect(counts).toEqual([...new Set(counts)].sort((a, b) => a - b));
    await busy.stop();
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
    await expect(restoreInto(await testDatabase(), file)).rejects.toThrow("newer schema than the backup");
  });
});

describe("the file of a backup", () => {
  /** What is in a folder of its own. */
  const folderOfOne = async () => {
    const own = await mkdtemp(join(folder, "own-"));
    return { own, file: join(own, "it.backup"), names: () => readdirSync(own).sort() };
  };

  test("is its owner's alone to read, whatever the umask is", async () => {
    const { file, names } = await folderOfOne();
    const umask = process.umask(0);
    try {
      await backUp(server.address, file);
    } finally {
      process.umask(umask);
    }
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(names()).toEqual(["it.backup"]);
  });

  test("replaces nothing: no other backup, no link, and no target of a link", async () => {
    const { own, file, names } = await folderOfOne();
    await backUp(server.address, file);
    await expect(backUp(server.address, file)).rejects.toThrow(`${file} exists already. Choose another name.`);
    const target = join(own, "target");
    const [dangling, leading, planted] = ["dangling", "leading", "planted"].map((name) => join(own, name));
    symlinkSync(target, dangling as string);
    await expect(backUp(server.address, dangling as string)).rejects.toThrow("exists already");
    expect(existsSync(target)).toBe(false);
    writeFileSync(target, "mine");
    symlinkSync(target, leading as string);
    await expect(backUp(server.address, leading as string)).rejects.toThrow("exists already");
    // No draft has a name that others can know.
    for (const suffix of [".partial", ".draft", ".tmp"]) symlinkSync(target, `${planted}${suffix}`);
    await backUp(server.address, planted as string);
    expect(readFileSync(target, "utf8")).toBe("mine");
    expect(names().filter((name) => name.endsWith(".draft"))).toEqual(["planted.draft"]);
  });

  test("replaces nothing that appears while it is written", async () => {
    const { file, names } = await folderOfOne();
    const pause = await pauseBackups(server);
    const writing = backUp(server.address, file).catch((error) => error);
    await pause.waiting();
    writeFileSync(file, "mine");
    await pause.end();
    expect((await writing).message).toBe(`${file} exists already. Choose another name.`);
    expect(names()).toEqual(["it.backup"]);
    expect(readFileSync(file, "utf8")).toBe("mine");
  });

  test("is not there where a backup fails", async () => {
    const { own, file, names } = await folderOfOne();
    await expect(backUp(await testDatabase({ migrated: false }), file)).rejects.toThrow("no schema");
    await expect(backUp(server.address, join(own, "none", "it.backup"))).rejects.toThrow(
      /it\.backup cannot be written: ENOENT.*\.$/,
    );
    await expect(backUp(server.address, join(own, "x".repeat(300)))).rejects.toThrow(
      /cannot be written: ENAMETOOLONG.*\.$/,
    );
    const pause = await pauseBackups(server);
    const writing = backUp(server.address, file).catch((error) => error);
    await pause.waiting();
    await server.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'conduit backup'`;
    expect((await writing).message).toMatch(/terminat|closed/i);
    await pause.end();
    expect(names()).toEqual([]);
  });

  test.each([
    ["SIGTERM", 143, []],
    ["SIGKILL", 137, [expect.stringMatching(/^it\.backup\.[0-9a-f]{16}\.draft$/)]],
  ] as const)("is not there where %s ends a backup", async (signal, status, left) => {
    const { file, names } = await folderOfOne();
    const pause = await pauseBackups(server);
    const program = conduit(["backup", file], { DATABASE_URL: databaseUrl(server.address) });
    await pause.waiting();
    expect(await program.end(signal)).toBe(status);
    await pause.end();
    expect(names()).toEqual([...left]);
  });
});

test("conduit backup works beside a running server, and conduit restore makes another one of it", async () => {
  const run = (args: string[], dataDir: string) =>
    conduit(args, { DATA_DIR: join(folder, dataDir), PORT: "0", HOST: "127.0.0.1" });
  await chmod(folder, 0o755);
  const file = newFile();
  const original = run(["serve"], "original");
  const user = { username: "ann", email: "ann@example.com", password: "correct horse" };
  const headers = { "Content-Type": "application/json" };
  await fetch(`${await original.ready}/api/users`, { method: "POST", headers, body: JSON.stringify({ user }) });
  const backup = run(["backup", file], "original");
  expect(await backup.ended).toBe(0);
  expect(backup.output()).toMatch(/^Wrote 1 users, 0 articles, .*\n$/);
  const onRunning = run(["restore", file], "original");
  expect(await onRunning.ended).toBe(1);
  expect(onRunning.output()).toContain("A server is running on");
  expect(await original.end("SIGTERM")).toBe(0);

  const restore = run(["restore", file], "copy");
  expect(await restore.ended).toBe(0);
  expect(restore.output()).toMatch(/Restored 1 users, .* Everyone has to sign in again\.\n$/);
  const copy = run(["serve"], "copy");
  expect((await fetch(`${await copy.ready}/api/profiles/ann`)).status).toBe(200);
  expect(await copy.end("SIGTERM")).toBe(0);

  const missing = run(["backup"], "copy");
  expect(await missing.ended).toBe(1);
  expect(missing.output()).toBe("Usage: conduit backup FILE\n");

  const nothing = run(["restore", join(folder, "none")], "third");
  expect(await nothing.ended).toBe(1);
  expect(nothing.output()).toBe(`${join(folder, "none")} does not exist.\n`);
  // No database was created for it.
  expect(existsSync(join(folder, "third"))).toBe(false);
}, 120_000);
