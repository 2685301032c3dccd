import type { Database } from "../../db/pool.ts";
import { type FeedEntry, listFeedEntries } from "../../features/articles/feed-entries.ts";
import { findProfile } from "../../features/profiles/queries.ts";
import { renderBody } from "../../markup/body.ts";
import type { Entry, FeedContent } from "./formats.ts";
import type { Links } from "./links.ts";

/** Which articles a feed has: all, or those of an author or with a tag. */
export type FeedSource = { readonly author?: string; readonly tag?: string };

/** In UTF-16 units: how much HTML a feed has. Older entries beyond it have their description alone. */
const HTML_MAX = 1024 * 1024;

/** Reads a feed, with the topics that it depends on. Throws 404 if there is no such author. */
export async function readFeed(
  db: Database,
  { author, tag }: FeedSource,
  links: Links,
): Promise<{ content: FeedContent; topics: readonly string[] }> {
  const [found, list] = await Promise.all([
    author === undefined ? undefined : findProfile(db, null, author),
    listFeedEntries(db, { author, tag }),
  ]);
  const entries: Entry[] = [];
  let room = HTML_MAX;
  for (const entry of list.entries) {
    const html = await htmlOf(entry, links);
    if (html !== null) room -= html.length;
    entries.push(entryOf(entry, links, room < 0 ? null : html));
  }
  const profile = found?.value.profile;
  const head =
    profile !== undefined
      ? {
          title: `${profile.username} on Conduit`,
          description: profile.bio || `Articles by ${profile.username}`,
          page: links.profile(profile.username),
        }
      : tag !== undefined
        ? { title: `${tag} on Conduit`, description: `Articles about ${tag}`, page: links.tag(tag) }
        : { title: "Conduit", description: "The newest articles", page: links.home };
  return { content: { ...head, entries }, topics: [...list.topics, ...(found?.topics ?? [])] };
}

async function htmlOf({ slug, body }: FeedEntry, links: Links): Promise<string | null> {
  return body === null ? null : withWholeLinks(await renderBody(body), links.article(slug), links.home);
}

/** In a reader, an address such as `/about` or `#notes` would lead nowhere. */
function withWholeLinks(html: string, article: string, home: string): string {
  if (!/ (?:href|src)="(?!https?:|mailto:|data:)/.test(html)) return html;
  const rewrite = (name: "href" | "src") => ({
    element(element: HTMLRewriterTypes.Element) {
      const value = element.getAttribute(name) ?? "";
      // Below the path of SITE_URL, as on a page. Joined as texts: what follows the slash may look like a scheme.
      const whole = value.startsWith("/") ? home + value.slice(1) : value;
      if (URL.canParse(whole, article)) element.setAttribute(name, new URL(whole, article).href);
    },
  });
  return new HTMLRewriter().on("[href]", rewrite("href")).on("[src]", rewrite("src")).transform(html);
}

/** The id does not change with title, slug, username or the address of the server. */
function entryOf(article: FeedEntry, links: Links, html: string | null): Entry {
  const { id, slug, title, description, author, tagList, publishedAt, updatedAt } = article;
  return {
    id: `urn:uuid:${Bun.randomUUIDv5(`conduit article ${id} ${publishedAt}`, "url")}`,
    url: links.article(slug),
    title,
    summary: description,
    html,
    author: { name: author.username, url: links.profile(author.username) },
    tags: tagList,
    publishedAt: new Date(publishedAt),
    updatedAt: new Date(updatedAt),
  };
}
