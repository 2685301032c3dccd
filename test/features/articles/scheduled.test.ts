import { afterAll, beforeAll, expect, test } from "bun:test";
import { OVERDUE_JOB, publishOverdue, publishScheduled } from "../../../src/features/articles/publication.ts";
import { startJobs } from "../../../src/jobs/runner.ts";
import { type ArticleJson, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { whenJobs } from "../../support/jobs.ts";
import { expectExact } from "../../support/recounts.ts";
import { serve, stopServed } from "../../support/serve.ts";
import { until } from "../../support/until.ts";

const JOB = "publish_article";
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});
afterAll(async () => {
  await stopServed();
  await server.stop();
});

const schedule = async (title: string, ms: number): Promise<ArticleJson> => {
  const publishAt = new Date(Date.now() + ms).toISOString();
  return await server.publish(anna, { title, tagList: ["scheduled"], status: "scheduled", publishAt });
};
const listed = async () => (await server.request("GET", "/api/articles?tag=scheduled&limit=100")).json.articles;

/** Runs the jobs of scheduled articles in this process. */
async function startPublishing(): Promise<{ stop(): Promise<void> }> {
  const { db, memory } = server;
  const tasks = [publishScheduled(db, memory), publishOverdue(db, memory)];
  const groups = [{ tasks, concurrency: 2, pollIntervalMs: 100 }];
  const limits = { connectTimeoutMs: 1_000, statementTimeoutMs: 1_000 };
  const jobs = await startJobs({ database: db.primary, db, log: SILENT, groups, ...limits });
  return { stop: () => jobs.stop(5_000) };
}

test("a scheduled article appears at its time, also to those who read lists from memory", async () => {
  const jobs = await startPublishing();
  const before = (await listed()).length;
  const { slug, publishAt } = await schedule("In a moment", 300);
  expect((await listed()).length).toBe(before);
  const articles = await until(async () => {
    const all = await listed();
    return all.length > before && all;
  });
  expect(articles[0]?.slug).toBe("in-a-moment");
  expect((articles[0]?.publishedAt ?? "") >= (publishAt ?? "")).toBe(true);
  const { json } = await server.request("GET", "/api/articles/in-a-moment", { token: anna.token });
  expect(json.article).toMatchObject({ status: "published", publishAt: null });
  // The address of the preview leads there.
  const former = await server.request("GET", `/api/articles/${slug}`);
  expect([former.status, former.headers.get("location")]).toEqual([308, "/api/articles/in-a-moment"]);
  await whenJobs(server.sql, JOB, (left) => left.length === 0);
  await jobs.stop();
});

test("a job that comes too early, too late or twice changes nothing", async () => {
  const due = await schedule("Withdrawn in time", 200);
  const later = await schedule("Not yet", 3_600_000);
  await server.sql`delete from graphile_worker._private_jobs`;
  const [{ ids }] = await server.sql`
    select array_agg(id::text) as ids from articles where slug in (${due.slug}, ${later.slug})`;
  await server.request("PUT", `/api/articles/${due.slug}`, {
    token: anna.token,
    body: { article: { status: "draft" } },
  });
  for (const id of [...ids, ...ids, "9223372036854775807"]) {
    await server.sql`select graphile_worker.add_job(${JOB}, json_build_object('articleId', ${id}::text))`;
  }
  const jobs = await startPublishing();
  await whenJobs(server.sql, JOB, (left) => left.length === 0);
  await jobs.stop();
  const rows =
    await server.sql`select status::text from articles where slug in (${due.slug}, ${later.slug}) order by id`;
  expect(rows.map(({ status }: { status: string }) => status)).toEqual(["draft", "scheduled"]);
  await server.sql`delete from articles where slug in (${due.slug}, ${later.slug})`;
});

test("an article whose job was lost, as after a restore, is published within the next minute", async () => {
  await schedule("Lost", 100);
  await server.sql`delete from graphile_worker._private_jobs`;
  await until(async () => (await server.sql`select from articles where publish_at < now()`).length === 1);
  const jobs = await startPublishing();
  await server.sql`select graphile_worker.add_job(${OVERDUE_JOB.name})`;
  await until(async () => (await listed()).some(({ slug }) => slug === "lost"));
  await jobs.stop();
});

test("with two servers, of which one is killed, each scheduled article appears exactly once", async () => {
  const MANY = 40;
  const titles = Array.from({ length: MANY }, (_, i) => `Of many ${i}`);
  const [first, second] = await Promise.all([serve(server.address), serve(server.address)]);
  for (const [i, title] of titles.entries()) await schedule(title, 500 + 50 * i);
  const manyListed = async () => (await listed()).filter(({ title }) => title.startsWith("Of many"));

  await until(async () => (await manyListed()).length > 5);
  first.kill("SIGKILL");
  await first.exited;
  expect((await manyListed()).length).toBeLessThan(MANY);
  // What ran in the killed process is found again with the next minute, which begins now.
  await until(async () => (await server.sql`select from articles where publish_at > now()`).length === 0);
  await server.sql`select graphile_worker.add_job(${OVERDUE_JOB.name})`;
  await until(async () => (await manyListed()).length === MANY);

  expect((await manyListed()).map(({ title }) => title).sort()).toEqual(titles.sort());
  await expectExact(server);
  second.kill("SIGTERM");
  expect(await second.exited).toBe(0);
}, 60_000);
