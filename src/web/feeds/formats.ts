import { writeXml } from "./xml.ts";

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
  return writeXml({
    feed: {
      "@xmlns": "http://www.w3.org/2005/Atom",
      id: self,
      title,
      subtitle: description,
      updated: newest(entries).toISOString(),
      link: [
        { "@rel": "self", "@type": "application/atom+xml", "@href": self },
        { "@rel": "alternate", "@type": "text/html", "@href": page },
      ],
      entry: entries.map((entry) => ({
        id: entry.id,
        title: entry.title,
        published: entry.publishedAt.toISOString(),
        updated: entry.updatedAt.toISOString(),
        link: { "@rel": "alternate", "@type": "text/html", "@href": entry.url },
        author: { name: entry.author.name, uri: entry.author.url },
        category: entry.tags.map((tag) => ({ "@term": tag })),
        summary: entry.summary,
        ...(entry.html === null ? {} : { content: { "@type": "html", "#text": entry.html } }),
      })),
    },
  });
}

/** RSS 2.0: https://www.rssboard.org/rss-specification. Its `author` is an email address, so there is `dc:creator`. */
function writeRss({ title, description, page, entries }: FeedContent, self: string): string {
  return writeXml({
    rss: {
      "@version": "2.0",
      "@xmlns:atom": "http://www.w3.org/2005/Atom",
      "@xmlns:content": "http://purl.org/rss/1.0/modules/content/",
      "@xmlns:dc": "http://purl.org/dc/elements/1.1/",
      channel: {
        title,
        link: page,
        description,
        lastBuildDate: newest(entries).toUTCString(),
        "atom:link": { "@rel": "self", "@type": "application/rss+xml", "@href": self },
        item: entries.map((entry) => ({
          title: entry.title,
          link: entry.url,
          guid: { "@isPermaLink": "false", "#text": entry.id },
          pubDate: entry.publishedAt.toUTCString(),
          "dc:creator": entry.author.name,
          category: entry.tags,
          // Readers take it for HTML.
          description: Bun.escapeHTML(entry.summary),
          ...(entry.html === null ? {} : { "content:encoded": entry.html }),
        })),
      },
    },
  });
}

/** https://www.jsonfeed.org/version/1.1/ */
function writeJson({ title, description, page, entries }: FeedContent, self: string): string {
  return JSON.stringify({
    version: "https://jsonfeed.org/version/1.1",
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
      tags: entry.tags,
    })),
  });
}

/** When the newest of the entries was edited. A feed without entries has not changed since 1970. */
const newest = (entries: readonly Entry[]): Date =>
  new Date(Math.max(0, ...entries.map(({ updatedAt }) => updatedAt.getTime())));
