import { type Context, Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import type { Memory } from "../../memory/memory.ts";
import { compressed, type Rendered, respondFromMemory } from "../rendered.ts";
import { siteOf } from "../requests.ts";
import { type FeedSource, readFeed } from "./content.ts";
import { FORMATS } from "./formats.ts";
import { type LinkSettings, linksOf } from "./links.ts";

/** The lists of articles that have a feed. */
const LISTS: readonly {
  readonly path: string;
  readonly name: string;
  readonly what: string;
  readonly errors?: readonly ["not_found"];
  readonly sourceOf: (c: Context) => FeedSource;
}[] = [
  { path: "", name: "", what: "all articles", sourceOf: () => ({}) },
  {
    path: "/profile/:username",
    name: "Author",
    what: "the articles of an author",
    errors: ["not_found"],
    sourceOf: (c) => ({ author: c.req.param("username") ?? "" }),
  },
  {
    path: "/tag/:tag",
    name: "Tag",
    what: "the articles with a tag",
    sourceOf: (c) => ({ tag: c.req.param("tag") ?? "" }),
  },
];

/** The newest articles for feed readers, in three formats. */
export function feedRoutes(db: Database, memory: Memory, settings: LinkSettings, baseUrl: string | undefined) {
  const feeds = memory.shelf<Rendered>("feed");
  const app = new Hono();
  for (const { path, name, what, errors = [], sourceOf } of LISTS) {
    for (const format of FORMATS) {
      const headers = {
        "Content-Type": `${format.mediaType}; charset=utf-8`,
        // A browser shows it, and runs nothing in it.
        "Content-Security-Policy": "default-src 'none'; sandbox",
      };
      app.get(
        `${path}/feed.${format.extension}`,
        (c) => {
          const source = sourceOf(c);
          const server = siteOf(c, baseUrl);
          const self = `${server}${pathOf(source)}/feed.${format.extension}`;
          return respondFromMemory(c, feeds, self, async () => {
            const { content, topics } = await readFeed(db, source, linksOf(settings, server));
            return { value: compressed(format.write(content, self), headers), topics };
          });
        },
        describeRoute({
          operationId: `Get${name}${format.label}Feed`,
          tag: "Feeds",
          summary: `Read the ${format.label} feed of ${what}`,
          description: "The 20 newest articles, with their bodies as HTML.",
          // Of an author who was renamed, it has another address.
          responses: { 200: format.mediaType, 304: null, ...(name === "Author" ? { 308: null } : {}) },
          errors,
        }),
      );
    }
  }
  return app;
}

const pathOf = ({ author, tag }: FeedSource): string =>
  author !== undefined
    ? `/profile/${encodeURIComponent(author)}`
    : tag !== undefined
      ? `/tag/${encodeURIComponent(tag)}`
      : "";
