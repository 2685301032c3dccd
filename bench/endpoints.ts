import type { Sample } from "./sample.ts";

/** A request. `as` is the username of the signed-in user; undefined is an anonymous reader. */
export type Call = {
  readonly method: string;
  readonly path: string;
  readonly as?: string;
  readonly body?: object;
  /** In addition to those of every call. */
  readonly headers?: Readonly<Record<string, string>>;
};

export type Endpoint = {
  readonly name: string;
  readonly kind: "read" | "write" | "mix";
  /**
   * The requests, sent in this order, and from the beginning again after the last. If there is more than one, their number
   * is a multiple of `BLOCK` × 2 × 32, so that 32 connections can divide them without cutting a block.
   * @param nonce a part of every name that must be new
   */
  calls(sample: Sample, nonce: string): Call[];
  /** Each request can be sent only once: measuring ends with the last. */
  readonly once?: true;
  /** The number of articles by the writers that must exist before: their slugs are `slugOf(nonce, 0 …)`. */
  readonly articlesBefore?: number;
};

const READER = "reader_10";
const WRITERS = Array.from({ length: 16 }, (_, i) => `writer_${i + 1}`);
/** Larger than the number of requests in flight, so that a request comes after the one that it reverses. */
const BLOCK = 64;
const SEQUENCE = 2 * BLOCK * 32;

/** The slug of the i-th article that is made for an endpoint; its author is `writerOf(i)`. */
export const slugOf = (nonce: string, i: number): string => `bench-${nonce}-${i}`;
export const writerOf = (i: number): string => WRITERS[i % WRITERS.length] as string;

export const ENDPOINTS: readonly Endpoint[] = [
  ...readByAll("list", () => list("")),
  ...readByAll("list, page 100", (s) => list(page(100, s))),
  ...readByAll("list, page 10,000", (s) => list(page(10_000, s))),
  ...readByAll("list by tag, popular", (s) => list(`?tag=${enc(s.popularTag)}`)),
  ...readByAll("list by tag, rare", (s) => list(`?tag=${enc(s.rareTag)}`)),
  ...readByAll("list by author", (s) => list(`?author=${s.prolificAuthor}`)),
  ...readByAll("list by favourites", (s) => list(`?favorited=${s.keenReader}`)),
  read("feed of 10", () => [get("/api/articles/feed", "reader_10")]),
  read("feed of 1,000", () => [get("/api/articles/feed", "reader_1000")]),
  ...readByAll("article", (s) =>
    sequence((random) => get(`/api/articles/${s.popular[zipf(random, s.popular.length)]}`)),
  ),
  ...readByAll("comments (20)", (s) => [get(`/api/articles/${s.discussed}/comments`)]),
  ...readByAll("profile", (s) => sequence((random) => get(`/api/profiles/${pick(random, s.authors)}`))),
  read("tags", () => [get("/api/tags")]),
  ...readByAll("search, common word", () => [get("/api/search?q=time")]),
  ...readByAll("search, two words", () => [get("/api/search?q=water+garden")]),
  read("suggestions", () => [get("/api/search/suggestions?q=gar")]),
  read("current user", () => [get("/api/user", READER)]),

  write("favourite, unfavourite", (s) =>
    doneAndUndone((i) => ({ path: `/api/articles/${s.popular[i % s.popular.length]}/favorite`, as: writerOf(i) })),
  ),
  write("follow, unfollow", (s) =>
    doneAndUndone((i) => ({ path: `/api/profiles/${s.authors[i % s.authors.length]}/follow`, as: writerOf(i) })),
  ),
  write("comment", (s) =>
    sequence((random, i) => ({
      method: "POST",
      path: `/api/articles/${s.popular[zipf(random, s.popular.length)]}/comments`,
      as: writerOf(i),
      body: { comment: { body: "A comment of usual length, which says that this was helpful and asks one question." } },
    })),
  ),
  { ...write("publish", (s, nonce) => sequence((random, i) => publish(s, nonce, random, i))), once: true },
  {
    ...write("edit", (s, nonce) =>
      sequence((_, i) => ({
        method: "PUT",
        path: `/api/articles/${slugOf(nonce, i % 1_024)}`,
        as: writerOf(i),
        body: { article: { description: `Edited for the time ${i}`, body: `${s.body}\n\nEdit ${i}.` } },
      })),
    ),
    articlesBefore: 1_024,
  },
  {
    ...write("delete", (_, nonce) =>
      sequence((_, i) => ({ method: "DELETE", path: `/api/articles/${slugOf(nonce, i)}`, as: writerOf(i) })),
    ),
    once: true,
    articlesBefore: SEQUENCE,
  },

  { name: "mix", kind: "mix", calls: (s) => sequence((random, i) => mixed(s, random, i)) },
];

/** Ninety reads in a hundred, half of them by a signed-in reader. */
function mixed(s: Sample, random: () => number, i: number): Call {
  const slug = s.popular[zipf(random, s.popular.length)] as string;
  const reader = random() < 0.5 ? READER : undefined;
  const choice = random() * 100;
  if (choice < 28) return get(`/api/articles${random() < 0.8 ? "" : "?offset=20"}`, reader);
  if (choice < 38) return get(`/api/articles?tag=${enc(tagOf(s, random))}`, reader);
  if (choice < 42) return get(`/api/articles?author=${pick(random, s.authors)}`, reader);
  if (choice < 44) return get(`/api/articles?favorited=${pick(random, s.authors)}`, reader);
  if (choice < 49) return get("/api/articles/feed", READER);
  if (choice < 70) return get(`/api/articles/${slug}`, reader);
  if (choice < 80) return get(`/api/articles/${slug}/comments`, reader);
  if (choice < 84) return get(`/api/profiles/${pick(random, s.authors)}`, reader);
  if (choice < 87) return get("/api/tags");
  if (choice < 90) return get("/api/user", READER);
  const as = writerOf(i);
  const method = random() < 0.6 ? "POST" : "DELETE";
  if (choice < 96) return { method, path: `/api/articles/${slug}/favorite`, as };
  if (choice < 98) return { method, path: `/api/profiles/${pick(random, s.authors)}/follow`, as };
  return { method: "POST", path: `/api/articles/${slug}/comments`, as, body: { comment: { body: "Thank you." } } };
}

function publish(s: Sample, nonce: string, random: () => number, i: number): Call {
  const article = {
    title: `Bench ${nonce} number ${i}`,
    description: "What the load generator has to say, in a sentence of the usual length.",
    body: s.body,
    tagList: [tagOf(s, random), tagOf(s, random)],
  };
  return { method: "POST", path: "/api/articles", as: writerOf(i), body: { article } };
}

const tagOf = (s: Sample, random: () => number): string => s.tags[zipf(random, s.tags.length)] as string;

type Calls = (sample: Sample, nonce: string) => Call[];

function read(name: string, calls: Calls): Endpoint {
  return { name, kind: "read", calls };
}

function write(name: string, calls: Calls): Endpoint {
  return { name, kind: "write", calls };
}

/** A public read: by an anonymous reader, and by a signed-in one. */
function readByAll(name: string, calls: Calls): Endpoint[] {
  return [
    read(name, calls),
    read(`${name}, signed in`, (s, nonce) => calls(s, nonce).map((call) => ({ ...call, as: READER }))),
  ];
}

const get = (path: string, as?: string): Call => ({ method: "GET", path, ...(as === undefined ? {} : { as }) });
const list = (query: string): Call[] => [get(`/api/articles${query}`)];
const enc = encodeURIComponent;

/** The query of a page; of a smaller data set, the last one. */
const page = (number: number, s: Sample): string =>
  `?offset=${Math.min((number - 1) * 20, Math.floor((s.articles - 1) / 20) * 20)}`;

function sequence(call: (random: () => number, i: number) => Call): Call[] {
  const random = mulberry32(7);
  return Array.from({ length: SEQUENCE }, (_, i) => call(random, i));
}

/** A block of POSTs, then the DELETEs that reverse them, and so on. No pair of user and resource occurs twice. */
function doneAndUndone(pair: (i: number) => { path: string; as: string }): Call[] {
  return Array.from({ length: SEQUENCE }, (_, i) => {
    const block = Math.floor(i / (2 * BLOCK));
    const method = i % (2 * BLOCK) < BLOCK ? "POST" : "DELETE";
    return { method, ...pair(block * BLOCK + (i % BLOCK)) };
  });
}

const pick = <T>(random: () => number, from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;

/** An index from 0 to count - 1, log-uniform: Zipf's law with exponent 1. */
const zipf = (random: () => number, count: number): number =>
  Math.min(Math.floor((count + 1) ** random()) - 1, count - 1);

/** Random numbers in [0, 1), the same each time (Tommy Ettinger's mulberry32, public domain). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
