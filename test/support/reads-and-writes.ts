import type { ArticleJson, TestServer, TestUser } from "./harness.ts";
import { addUsers } from "./people.ts";

// Every write of the API that changes what others can read, and every read that may show it. Tests of the memory do each
// write, and compare each read with a server that holds nothing in memory.

/** Three users and what they have written. Its names are those of no other world. */
export type World = {
  readonly prefix: string;
  /** Wrote `article`, with the tags `tag` and `otherTag`, and edited its title. */
  readonly author: TestUser;
  /** Follows the author, has favourited and commented on the article. */
  readonly reader: TestUser;
  /** Wrote `other`, without tags. */
  readonly stranger: TestUser;
  readonly article: ArticleJson;
  readonly other: ArticleJson;
  /** By the author, with the tag `tag`. */
  readonly draft: ArticleJson;
  readonly commentId: number;
  readonly tag: string;
  readonly otherTag: string;
};

let worlds = 0;

export async function createWorld(server: TestServer, registered: TestUser): Promise<World> {
  const prefix = `w${process.pid}x${++worlds}`;
  const names = [`${prefix}author`, `${prefix}reader`, `${prefix}stranger`];
  const [author, reader, stranger] = (await addUsers(server, registered, names)) as [TestUser, TestUser, TestUser];
  const [tag, otherTag] = [`${prefix}tag`, `${prefix}other`];
  const before = await server.publish(author, { title: `${prefix} before`, tagList: [tag, otherTag] });
  const edited = await server.request("PUT", `/api/articles/${before.slug}`, {
    token: author.token,
    body: { article: { title: `${prefix} article` } },
  });
  const { article } = edited.json;
  const other = await server.publish(stranger, { title: `${prefix} other` });
  const draft = await server.publish(author, { title: `${prefix} draft`, tagList: [tag], status: "draft" });
  const send = async (path: string, body?: object) => {
    const response = await server.request("POST", path, { token: reader.token, body });
    if (response.status > 299) throw new Error(`${path}: ${response.status} ${response.text}`);
    return response.json;
  };
  await send(`/api/profiles/${author.username}/follow`);
  await send(`/api/articles/${article.slug}/favorite`);
  const { comment } = await send(`/api/articles/${article.slug}/comments`, { comment: { body: "A comment" } });
  return { prefix, author, reader, stranger, article, other, draft, commentId: comment.id, tag, otherTag };
}

/** The reads, by name. */
export const READS: Readonly<Record<string, (world: World) => string>> = {
  "all articles": () => "/api/articles",
  "all articles, second page": () => "/api/articles?limit=1&offset=1",
  "all articles, past the end": () => "/api/articles?offset=1000",
  "by tag": ({ tag }) => `/api/articles?tag=${tag}`,
  "by tag, second page": ({ tag }) => `/api/articles?tag=${tag}&offset=1`,
  "by other tag": ({ otherTag }) => `/api/articles?tag=${otherTag}`,
  "by other tag, second page": ({ otherTag }) => `/api/articles?tag=${otherTag}&offset=1`,
  "by new tag": ({ prefix }) => `/api/articles?tag=${prefix}new`,
  "by author": ({ author }) => `/api/articles?author=${author.username}`,
  "by author, second page": ({ author }) => `/api/articles?author=${author.username}&offset=1`,
  "by new name": ({ prefix }) => `/api/articles?author=${prefix}new`,
  "by tag and author": ({ tag, author }) => `/api/articles?tag=${tag}&author=${author.username}`,
  favorites: ({ reader }) => `/api/articles?favorited=${reader.username}`,
  "favorites of new name": ({ prefix }) => `/api/articles?favorited=${prefix}new`,
  "favorites by tag": ({ reader, tag }) => `/api/articles?favorited=${reader.username}&tag=${tag}`,
  "favorites by author": ({ reader, author }) => `/api/articles?favorited=${reader.username}&author=${author.username}`,
  "favorites, second page": ({ reader }) => `/api/articles?favorited=${reader.username}&limit=1&offset=1`,
  feed: () => "/api/articles/feed",
  article: ({ article }) => `/api/articles/${article.slug}`,
  "article as HTML": ({ article }) => `/api/articles/${article.slug}?format=html`,
  "other article": ({ other }) => `/api/articles/${other.slug}`,
  "article by former slug": ({ prefix }) => `/api/articles/${prefix}-before`,
  "article with new title": ({ prefix }) => `/api/articles/${prefix}-new`,
  draft: ({ draft }) => `/api/articles/${draft.slug}`,
  "article that was a draft": ({ prefix }) => `/api/articles/${prefix}-draft`,
  "comments of draft": ({ draft }) => `/api/articles/${draft.slug}/comments`,
  "comments by former slug": ({ prefix }) => `/api/articles/${prefix}-before/comments`,
  comments: ({ article }) => `/api/articles/${article.slug}/comments`,
  "comments, first page": ({ article }) => `/api/articles/${article.slug}/comments?limit=1`,
  "comments with new title": ({ prefix }) => `/api/articles/${prefix}-new/comments`,
  "profile of author": ({ author }) => `/api/profiles/${author.username}`,
  "profile of reader": ({ reader }) => `/api/profiles/${reader.username.toUpperCase()}`,
  "profile of new name": ({ prefix }) => `/api/profiles/${prefix}new`,
  tags: () => "/api/tags",
  "tags by prefix": ({ prefix }) => `/api/tags?q=${prefix}`,
  "feed of all": () => "/feed.json",
  "feed of author": ({ author }) => `/profile/${author.username}/feed.json`,
  "feed of tag": ({ tag }) => `/tag/${tag}/feed.json`,
};

export const VIEWERS = ["anonymous", "author", "reader", "stranger"] as const;
export type Viewer = (typeof VIEWERS)[number];

// Which reads show an article, its comments and its tags.
const ARTICLE = [
  "all articles",
  "all articles, second page",
  "by tag",
  "by other tag",
  "by author",
  "by tag and author",
  "feed",
  "article",
  "article as HTML",
];
const FAVORITES = ["favorites", "favorites by tag", "favorites by author"];
const FORMER = ["article by former slug", "comments by former slug"];
const COMMENTS = ["comments", "comments, first page"];
const FEEDS = ["feed of all", "feed of author", "feed of tag"];
const TAGS = ["tags", "tags by prefix"];

const TEXTS = { description: "A description", body: "A body" };

/** A write: its route, and the reads whose responses to some viewer it changes. */
export type Write = {
  readonly route: string;
  readonly by: Exclude<Viewer, "anonymous">;
  readonly path: (world: World) => string;
  readonly body?: (world: World) => object;
  readonly shownBy: readonly string[];
};

/** The writes, by name. */
export const WRITES: Readonly<Record<string, Write>> = {
  publish: {
    route: "POST /api/articles",
    by: "author",
    path: () => "/api/articles",
    body: ({ prefix, tag }) => ({ article: { ...TEXTS, title: `${prefix} second`, tagList: [tag, `${prefix}new`] } }),
    shownBy: [
      "all articles, past the end",
      ...TAGS,
      "all articles",
      "all articles, second page",
      "by tag",
      "by tag, second page",
      "by new tag",
      "by author",
      "by author, second page",
      "by tag and author",
      "feed",
      ...FEEDS,
    ],
  },
  "publish without tags": {
    route: "POST /api/articles",
    by: "author",
    path: () => "/api/articles",
    body: ({ prefix }) => ({ article: { ...TEXTS, title: `${prefix} new` } }),
    shownBy: [
      "all articles",
      "all articles, second page",
      "all articles, past the end",
      "by author",
      "by author, second page",
      "feed",
      "article with new title",
      "comments with new title",
      "feed of all",
      "feed of author",
    ],
  },
  "edit the body": {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}`,
    body: () => ({ article: { body: "Another body" } }),
    shownBy: [...ARTICLE, ...FAVORITES, ...FEEDS],
  },
  "edit the title": {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}`,
    body: ({ prefix }) => ({ article: { title: `${prefix} new` } }),
    shownBy: [
      ...ARTICLE,
      ...FAVORITES,
      ...FEEDS,
      ...COMMENTS,
      ...FORMER,
      "article with new title",
      "comments with new title",
    ],
  },
  "edit the tags": {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}`,
    body: ({ prefix, otherTag }) => ({ article: { tagList: [otherTag, `${prefix}new`] } }),
    shownBy: [...ARTICLE, ...FAVORITES, ...FEEDS, ...TAGS, "by tag, second page", "by new tag"],
  },
  "publish a draft": {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ draft }) => `/api/articles/${draft.slug}`,
    body: () => ({ article: { status: "published" } }),
    shownBy: [
      "draft",
      "article that was a draft",
      "comments of draft",
      "all articles",
      "all articles, second page",
      "all articles, past the end",
      "by tag",
      "by tag, second page",
      "by author",
      "by author, second page",
      "by tag and author",
      "feed",
      ...TAGS,
      ...FEEDS,
    ],
  },
  "edit a draft": {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ draft }) => `/api/articles/${draft.slug}`,
    body: ({ prefix }) => ({ article: { body: "Another body", tagList: [`${prefix}new`] } }),
    shownBy: ["draft"],
  },
  withdraw: {
    route: "PUT /api/articles/:slug",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}`,
    body: () => ({ article: { status: "draft" } }),
    shownBy: [
      "by other tag, second page",
      "all articles, past the end",
      ...ARTICLE,
      ...FAVORITES,
      ...COMMENTS,
      ...FORMER,
      ...TAGS,
      "by tag, second page",
      "by author, second page",
      "favorites, second page",
      ...FEEDS,
    ],
  },
  "restore a revision": {
    route: "POST /api/articles/:slug/revisions/:number/restore",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}/revisions/1/restore`,
    shownBy: [...ARTICLE, ...FAVORITES, ...COMMENTS, ...FORMER, ...FEEDS],
  },
  delete: {
    route: "DELETE /api/articles/:slug",
    by: "author",
    path: ({ article }) => `/api/articles/${article.slug}`,
    shownBy: [
      "by other tag, second page",
      "all articles, past the end",
      ...ARTICLE,
      ...FAVORITES,
      ...FEEDS,
      ...COMMENTS,
      ...FORMER,
      ...TAGS,
      "by tag, second page",
      "by author, second page",
      "favorites, second page",
    ],
  },
  favorite: {
    route: "POST /api/articles/:slug/favorite",
    by: "reader",
    path: ({ other }) => `/api/articles/${other.slug}/favorite`,
    shownBy: ["all articles", "favorites", "favorites, second page", "other article"],
  },
  unfavorite: {
    route: "DELETE /api/articles/:slug/favorite",
    by: "reader",
    path: ({ article }) => `/api/articles/${article.slug}/favorite`,
    shownBy: [...ARTICLE, ...FAVORITES, "favorites, second page"],
  },
  comment: {
    route: "POST /api/articles/:slug/comments",
    by: "stranger",
    path: ({ article }) => `/api/articles/${article.slug}/comments`,
    body: () => ({ comment: { body: "Another comment" } }),
    shownBy: [...COMMENTS],
  },
  "delete a comment": {
    route: "DELETE /api/articles/:slug/comments/:id",
    by: "reader",
    path: ({ article, commentId }) => `/api/articles/${article.slug}/comments/${commentId}`,
    shownBy: [...COMMENTS],
  },
  follow: {
    route: "POST /api/profiles/:username/follow",
    by: "reader",
    path: ({ stranger }) => `/api/profiles/${stranger.username}/follow`,
    shownBy: ["all articles", "feed", "other article"],
  },
  unfollow: {
    route: "DELETE /api/profiles/:username/follow",
    by: "reader",
    path: ({ author }) => `/api/profiles/${author.username}/follow`,
    shownBy: [...ARTICLE, ...FAVORITES, "profile of author"],
  },
  "change the biography": {
    route: "PUT /api/user",
    by: "author",
    path: () => "/api/user",
    body: () => ({ user: { bio: "A biography" } }),
    shownBy: [...ARTICLE, ...FAVORITES, "draft", "profile of author", "feed of author"],
  },
  "rename the author": {
    route: "PUT /api/user",
    by: "author",
    path: () => "/api/user",
    body: ({ prefix }) => ({ user: { username: `${prefix}new` } }),
    shownBy: [
      ...ARTICLE,
      ...FAVORITES,
      ...FEEDS,
      "by author, second page",
      "draft",
      "by new name",
      "profile of author",
      "profile of new name",
    ],
  },
  "rename the reader": {
    route: "PUT /api/user",
    by: "reader",
    path: () => "/api/user",
    body: ({ prefix }) => ({ user: { username: `${prefix}new` } }),
    shownBy: [
      ...FAVORITES,
      ...COMMENTS,
      "favorites of new name",
      "favorites, second page",
      "profile of reader",
      "profile of new name",
    ],
  },
};

/** Does a write. */
export async function perform(server: TestServer, world: World, { route, by, path, body }: Write): Promise<void> {
  const [method = ""] = route.split(" ");
  const response = await server.request(method, path(world), { token: world[by].token, body: body?.(world) });
  if (response.status > 299) throw new Error(`${route}: ${response.status} ${response.text}`);
}

/** The responses to all reads for these viewers, by "viewer: read". */
export async function readAll(
  server: TestServer,
  world: World,
  viewers: readonly Viewer[] = VIEWERS,
): Promise<Map<string, string>> {
  const responses = new Map<string, string>();
  await Promise.all(
    viewers.flatMap((viewer) =>
      Object.entries(READS).map(async ([name, path]) => {
        const token = viewer === "anonymous" ? undefined : world[viewer].token;
        const { status, text, headers } = await server.request("GET", path(world), { token });
        // Feeds have the address of the server in them.
        const content = text.replaceAll(server.url, "");
        const leadsTo = [headers.get("link"), headers.get("location")];
        responses.set(`${viewer}: ${name}`, `${status} ${content} ${leadsTo}`);
      }),
    ),
  );
  return responses;
}

/** The names of the reads whose responses to some viewer differ. */
export function differences(
  some: ReadonlyMap<string, string>,
  others: ReadonlyMap<string, string>,
  viewers: readonly Viewer[] = VIEWERS,
): string[] {
  const differ = (name: string) => some.get(name) !== others.get(name);
  return Object.keys(READS).filter((read) => viewers.some((viewer) => differ(`${viewer}: ${read}`)));
}
