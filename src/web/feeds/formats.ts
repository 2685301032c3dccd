import { generateAtomFeed, generateJsonFeed, generateRssFeed } from "feedsmith";

/** What every format says of a feed. */
export type FeedContent = {
  readonly title: string;
  readonly description: string;
  /** The page with the same articles. */
  readonly page: string;
  readonly entries: readonly Entry[];
};

export type Entry = {
  /** A URI that stays the same, whatever changes. */
  readonly id: string;
  readonly url: string;
  readonly title: string;
  readonly summary: string;
  /** Null where it is left out. */
  readonly html: string | null;
  readonly author: { readonly name: string; readonly url: string };
  readonly tags: readonly string[];
  readonly publishedAt: Date;
  readonly updatedAt: Date;
};

type Format = {
  /** How the address ends: `/feed.atom`. */
  readonly extension: string;
  readonly mediaType: string;
  readonly label: string;
  /** @param self the address of the feed */
  readonly write: (feed: FeedContent, self: string) => string;
};

export const FORMATS: readonly Format[] = [
  { extension: "atom", mediaType: "application/atom+xml", label: "Atom", write: writeAtom },
  { extension: "rss", mediaType: "application/rss+xml", label: "RSS", write: writeRss },
  { extension: "json", mediaType: "application/feed+json", label: "JSON", write: writeJson },
];

/** RFC 4287 */
function writeAtom({ title, description, page, entries }: FeedContent, self: string): string {
  return generateAtomFeed(
    withXmlText({
      id: self,
      title: { value: title },
      subtitle: { value: description },
      updated: newest(entries),
      links: [
        { rel: "self", href: self, type: "application/atom+xml" },
        { rel: "alternate", href: page, type: "text/html" },
      ],
      entries: entries.map((entry) => ({
        id: entry.id,
        title: { value: entry.title },
        published: entry.publishedAt,
        updated: entry.updatedAt,
        links: [{ rel: "alternate", href: entry.url, type: "text/html" }],
        authors: [{ name: entry.author.name, uri: entry.author.url }],
        categories: entry.tags.map((term) => ({ term })),
        summary: { value: entry.summary },
        ...(entry.html === null ? {} : { content: { value: entry.html, type: "html" } }),
      })),
    }),
  );
}

/** RSS 2.0: https://www.rssboard.org/rss-specification. Its `author` is an email address, so there is `dc:creator`. */
function writeRss({ title, description, page, entries }: FeedContent, self: string): string {
  return generateRssFeed(
    withXmlText({
      title,
      description,
      link: page,
      lastBuildDate: newest(entries),
      atom: { links: [{ rel: "self", href: self, type: "application/rss+xml" }] },
      items: entries.map((entry) => ({
        title: entry.title,
        link: entry.url,
        guid: { value: entry.id, isPermaLink: false },
        pubDate: entry.publishedAt,
        dc: { creators: [entry.author.name] },
        categories: entry.tags.map((name) => ({ name })),
        // Readers take it for HTML.
        description: Bun.escapeHTML(entry.summary),
        ...(entry.html === null ? {} : { content: { encoded: entry.html } }),
      })),
    }),
  );
}

/** https://www.jsonfeed.org/version/1.1/ */
function writeJson({ title, description, page, entries }: FeedContent, self: string): string {
  const feed = generateJsonFeed({
    title,
    description,
    home_page_url: page,
    feed_url: self,
    items: entries.map((entry) => ({
      id: entry.id,
      url: entry.url,
      title: entry.title,
      summary: entry.summary,
      ...(entry.html === null ? { content_text: entry.summary } : { content_html: entry.html }),
      date_published: entry.publishedAt,
      date_modified: entry.updatedAt,
      authors: [entry.author],
      tags: [...entry.tags],
    })),
  });
  return JSON.stringify(feed);
}

/** When the newest of the entries was edited. A feed without entries has not changed since 1970. */
const newest = (entries: readonly Entry[]): Date =>
  new Date(Math.max(0, ...entries.map(({ updatedAt }) => updatedAt.getTime())));

/** All texts without characters that XML cannot contain, escaped or not (XML 1.0, 2.2). */
function withXmlText<Value>(value: Value): Value {
  if (typeof value === "string") return value.replace(NOT_XML, "") as Value;
  if (Array.isArray(value)) return value.map(withXmlText) as Value;
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withXmlText(member)])) as Value;
}

const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
