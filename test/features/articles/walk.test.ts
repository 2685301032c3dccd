import { expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

const ARTICLES = 3_000;

/** Publishes articles and deletes the one before, and some of those that were there, until it is stopped. */
async function disturb(server: TestServer, author: TestUser, isDone: () => boolean): Promise<number> {
  let writes = 0;
  let before: string | undefined;
  while (!isDone()) {
    const { slug } = await server.publish(author, { title: `New ${writes}`, tagList: ["walk"] });
    if (before !== undefined) await server.request("DELETE", `/api/articles/${before}`, { token: author.token });
    before = slug;
    const doomed = await server.sql`select slug from articles where slug like 'doomed-%' order by random() limit 1`;
    const [{ slug: victim } = { slug: undefined }] = doomed;
    if (victim !== undefined) await server.request("DELETE", `/api/articles/${victim}`, { token: author.token });
    writes++;
  }
  return writes;
}

test("walks through thousands of articles return each that existed throughout once, while others publish and delete", async () => {
  const server = await testServer();
  const author = await server.register("author");
  const [reader] = (await addUsers(server, author, ["reader"])) as [TestUser];
  // Two of each millisecond. Every tenth is deleted at some time.
  await server.sql`insert into articles (author_id, slug, title, description, body, tag_list, published_at)
    select u.id, case when i % 10 = 0 then 'doomed-' else 'kept-' end || i, 'A', 'd', 'b', '{walk}',
           timestamptz '2024-01-01' + (i / 2) * interval '1 ms'
      from generate_series(1, ${ARTICLES}) i, users u where u.username = 'author'`;
  await server.sql`insert into favorites (user_id, article_id, article_published_at, author_id)
    select u.id, a.id, a.published_at, a.author_id from articles a, users u where u.username = 'reader'`;
  await server.request("POST", "/api/profiles/author/follow", { token: reader.token });
  const kept = (
    await server.sql`select slug from articles where slug like 'kept-%' order by published_at desc, id desc`
  ).map(({ slug }: { slug: string }) => slug);

  let isDone = false;
  const writes = disturb(server, author, () => isDone);
  const walk = async (path: string) => {
    const walked: string[] = [];
    let next: string | undefined = path;
    while (next !== undefined) {
      const { json, headers } = await server.request("GET", next, { token: reader.token });
      walked.push(...json.articles.map(({ slug }) => slug));
      next = /^<(.+)>; rel="next"$/.exec(headers.get("Link") ?? "")?.[1];
    }
    return walked;
  };
  const paths = ["/api/articles?", "/api/articles?tag=walk&", "/api/articles?author=author&"];
  paths.push("/api/articles?favorited=reader&", "/api/articles/feed?");
  const walks = await Promise.all(paths.map((path) => walk(`${path}limit=50`)));
  isDone = true;
  expect(await writes).toBeGreaterThan(0);
  for (const [i, walked] of walks.entries()) {
    expect([paths[i], walked.filter((slug) => slug.startsWith("kept-"))]).toEqual([paths[i], kept]);
    expect(new Set(walked).size).toBe(walked.length);
  }
});
