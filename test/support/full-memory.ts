// Fills a memory of MEMORY_MAX bytes many times over with lists of articles, and prints by how many bytes the process grew.

import { bodyOf, bytesOf } from "../../src/features/profiles/body.ts";
import { createMemory } from "../../src/memory/memory.ts";
import { topics } from "../../src/memory/topics.ts";

const bytesMax = Number(process.env.MEMORY_MAX);
const LISTS = 20_000;
const ARTICLES = 20;

const memory = createMemory({ bytesMax, report: async () => {} });
memory.setServing(true);
const shelf = memory.shelf<object>("test");
Bun.gc(true);
const before = process.memoryUsage.rss();
for (let list = 0; list < LISTS; list++) {
  const ids = Array.from({ length: ARTICLES }, (_, i) => String(list * ARTICLES + i));
  const articles = ids.map((id) => ({
    slug: `article-${id}`,
    description: `${id} `.repeat(60),
    favorited: false,
    author: { username: id, following: false },
  }));
  const body = bodyOf(JSON.stringify({ articles }), { favorited: ids, following: ids }, null);
  await shelf.load(String(list), async () => ({
    value: body,
    topics: ids.flatMap((id) => [topics.article(id), topics.user(id)]),
    bytes: bytesOf(body),
  }));
}
Bun.gc(true);
console.log(process.memoryUsage.rss() - before);
