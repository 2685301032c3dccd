// npm run bench -- isolation: what the slowest requests do to GET /api/articles. See docs/performance.md.

import { SQL } from "bun";
import { connectionOptions } from "../src/db/pool.ts";
import { openDataset } from "./dataset.ts";
import { startApp, urlOf } from "./processes.ts";
import { signIn } from "./sign-in.ts";

/** Clients that read `GET /api/articles`, one request after the other. */
const READERS = 4;
/** Clients that send the slow request, one after the other. */
const ATTACKERS = 10;

type SlowRequest = { readonly name: string; readonly path: string; readonly as?: string };

/** Prints the 50th and 99th percentile of `GET /api/articles` alone, and beside ten clients of each slow request. */
export async function isolation(articles: number, rounds: number, seconds: number): Promise<string> {
  const say = (message: string) => console.error(message);
  const dataset = await openDataset(articles, say);
  const sql = new SQL(connectionOptions(dataset.address, 1, { statement_timeout: "0" }));
  const closers = [dataset.stop, () => sql.close({ timeout: 0 })];
  try {
    await addExtremes(sql);
    const settings = { JWT_SECRET: "the secret of the bench, which is 32 bytes or more", RATE_LIMITS: "off" };
    const app = await startApp({ ...settings, DATABASE_URL: urlOf(dataset.address) });
    closers.push(app.stop);
    const token = (await signIn(app.url, ["reader_1000"])).get("reader_1000") as string;
    const requests = slowRequests(articles, dataset.sample.popularTag, dataset.sample.keenReader);
    const load = (request: SlowRequest | undefined) => measure(app.url, token, request, seconds);
    const figures = new Map<SlowRequest | undefined, Figures[]>();
    for (let round = 1; round <= rounds; round++) {
      // In turns with the readers alone: the machine may slow down for other reasons.
      for (const request of [undefined, ...requests]) {
        say(`round ${round} of ${rounds}: ${request?.name ?? "alone"}`);
        figures.set(request, [...(figures.get(request) ?? []), await load(request)]);
      }
    }
    return table(figures);
  } finally {
    await sql`delete from articles where slug like 'isolation-%'`.catch(() => {});
    for (const close of closers.reverse()) await close();
  }
}

/** The requests that were the slowest of their routes, with the largest rows that the schema allows. */
function slowRequests(articles: number, tag: string, reader: string): SlowRequest[] {
  const deep = `limit=100&offset=${articles - 100}`;
  return [
    // For comparison: what ten more clients of the same request do.
    { name: "the same request", path: "/api/articles" },
    { name: "100 comments of 10,000 characters", path: "/api/articles/isolation-0/comments" },
    { name: "an article of 1 MiB", path: "/api/articles/isolation-0" },
    { name: "100 articles, all fields as long as they may be", path: "/api/articles?tag=isolation&limit=100" },
    { name: "the last of all pages", path: `/api/articles?${deep}` },
    {
      name: "favourites with a tag",
      path: `/api/articles?favorited=${reader}&tag=${encodeURIComponent(tag)}&limit=100`,
    },
    { name: "a deep page of a feed of 1,000", path: "/api/articles/feed?limit=100&offset=2000", as: "reader_1000" },
    { name: "a feed of 1,000", path: "/api/articles/feed?limit=100", as: "reader_1000" },
    { name: "tags with a prefix", path: "/api/tags?q=a" },
    { name: "all tags", path: "/api/tags" },
  ];
}

/** A hundred articles with the longest fields, the first of them with 504 of the longest comments. */
async function addExtremes(sql: SQL): Promise<void> {
  await sql`delete from articles where slug like 'isolation-%'`;
  await sql`update users set bio = repeat('b', 1000), image = repeat('i', 2048) where username = 'writer_1'`;
  await sql`
    insert into articles (author_id, slug, title, description, body, tag_list, published_at)
    select u.id, 'isolation-' || i, repeat('t', 255), repeat('d', 1000), repeat('b', 1048576),
           '{isolation}' || array(select repeat(chr(96 + n), 50) from generate_series(1, 19) n), '2001-01-01'
      from users u, generate_series(0, 99) i where u.username = 'writer_1'`;
  await sql`
    insert into comments (article_id, author_id, body)
    select a.id, a.author_id, repeat('c', 10000) from articles a, generate_series(1, 504) where a.slug = 'isolation-0'`;
  await sql`vacuum (analyze) articles, comments`.simple();
}

/** Times in milliseconds. `slowP50Ms` is that of the slow requests, of which `slowCount` succeeded. */
type Figures = { p50Ms: number; p99Ms: number; slowP50Ms: number; slowCount: number; refused: number };

/** The slow clients run in a process of their own, so that they do not slow down the clock of the readers. */
async function measure(url: string, token: string, slow: SlowRequest | undefined, seconds: number): Promise<Figures> {
  const job = { url: url + (slow?.path ?? ""), token: slow?.as === undefined ? null : token, seconds: seconds + 0.5 };
  const attackers =
    slow === undefined
      ? undefined
      : Bun.spawn([process.execPath, import.meta.path, JSON.stringify({ ...job, clients: ATTACKERS })], {
          stdio: ["ignore", "pipe", "inherit"],
        });
  // The slow clients begin first.
  await Bun.sleep(500);
  const readers = await requestsOf({ url: `${url}/api/articles`, token: null, seconds, clients: READERS });
  const { times, refused }: Timed =
    attackers === undefined ? { times: [], refused: 0 } : JSON.parse(await new Response(attackers.stdout).text());
  if (readers.refused > 0) throw new Error(`${readers.refused} readers were refused`);
  return {
    p50Ms: percentile(readers.times, 0.5),
    p99Ms: percentile(readers.times, 0.99),
    slowP50Ms: percentile(times, 0.5),
    slowCount: times.length,
    refused,
  };
}

type Job = { url: string; token: string | null; seconds: number; clients: number };
type Timed = { times: number[]; refused: number };

/** Sends a request again and again by some clients, and returns the times of those that succeeded. */
async function requestsOf({ url, token, seconds, clients }: Job): Promise<Timed> {
  const times: number[] = [];
  let refused = 0;
  const until = performance.now() + seconds * 1000;
  const headers: Record<string, string> = token === null ? {} : { Authorization: `Token ${token}` };
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < until) {
        const started = performance.now();
        const response = await fetch(url, { headers });
        await response.arrayBuffer();
        if (response.ok) times.push(performance.now() - started);
        else if (response.status === 503) refused++;
        else throw new Error(`${url}: ${response.status}`);
      }
    }),
  );
  return { times, refused };
}

function percentile(times: readonly number[], share: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function table(figures: Map<SlowRequest | undefined, Figures[]>): string {
  const median = (all: Figures[], key: keyof Figures) =>
    percentile(
      all.map((one) => one[key]),
      0.5,
    );
  const alone = median(figures.get(undefined) ?? [], "p99Ms");
  const rows = [...figures].map(([request, all]) => {
    const p99 = median(all, "p99Ms");
    const slow = request === undefined ? "" : median(all, "slowP50Ms").toFixed(1);
    const cells = [
      request?.name ?? "nothing",
      median(all, "p50Ms").toFixed(1),
      p99.toFixed(1),
      (p99 / alone).toFixed(1),
      slow,
    ];
    return `| ${cells.join(" | ")} |\n`;
  });
  return `| beside ten clients of | p50, ms | p99, ms | of alone | p50 of theirs, ms |\n| --- | --- | --- | --- | --- |\n${rows.join("")}`;
}

if (import.meta.main) process.stdout.write(JSON.stringify(await requestsOf(JSON.parse(process.argv[2] ?? ""))));
