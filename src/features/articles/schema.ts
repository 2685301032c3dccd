import { z } from "zod";
import { hasInvisible } from "../../http/characters.ts";
import { cursorOf, nextCursor, position } from "../../http/cursor.ts";
import {
  characters,
  envelope,
  filter,
  INVISIBLE,
  isStorable,
  NOT_STORABLE,
  requiredLine,
  requiredText,
  STORABLE_PATTERN,
  searchText,
  timestamp,
  wholeNumber,
} from "../../http/fields.ts";
import { ErrorResponse } from "../../http/openapi.ts";
import { Profile } from "../profiles/schema.ts";
import { normaliseTags } from "./rules.ts";

const title = requiredLine(255);
const description = requiredLine(1_000);

const BODY_MAX = 1024 * 1024;
const body = requiredText(Number.POSITIVE_INFINITY)
  .refine((value) => Buffer.byteLength(value) <= BODY_MAX, "is too long (maximum is 1 MiB)")
  .meta({ maxLength: BODY_MAX });

/** With duplicates and blank ones. */
const TAGS_SENT_MAX = 1_000;

const tagList = z
  .array(z.custom<string>().meta({ type: "string", pattern: STORABLE_PATTERN, maxLength: 50 }), {
    error: "must be a list of strings",
  })
  // All at once: an error for each of a million tags would block other requests for a second.
  .refine((tags) => tags.every((tag) => typeof tag === "string"), { error: "must be a list of strings", abort: true })
  // Before what takes time for each of them.
  .refine((tags) => tags.length <= TAGS_SENT_MAX, { error: "has too many tags (maximum is 20)", abort: true })
  // First, because such a character counts as invisible, and blank tags are removed.
  .refine((tags) => tags.every(isStorable), { error: NOT_STORABLE, abort: true })
  .transform(normaliseTags)
  .refine((tags) => tags.length <= 20, "has too many tags (maximum is 20)")
  .refine((tags) => tags.every((tag) => characters(tag) <= 50), {
    error: "has a tag that is too long (maximum is 50 characters)",
    abort: true,
  })
  .refine((tags) => !tags.some(hasInvisible), INVISIBLE)
  .meta({
    maxItems: 20,
    description:
      "At most 20 tags of at most 50 characters each. The order is kept, duplicates and blank tags are removed.",
  });

export const STATUSES = ["draft", "scheduled", "published"] as const;

const status = z.enum(STATUSES, { error: "must be draft, scheduled or published" });

/** How far ahead an article can be scheduled. */
const AHEAD_MAX_MS = 366 * 24 * 3_600_000;

const publishAt = z.iso
  .datetime({ offset: true, error: "must be a time like 2026-01-31T12:34:56Z" })
  .nullable()
  .optional()
  .meta({
    description: "When to publish the article, within a year. Required for the status `scheduled`, and for no other.",
  });

/** Of both requests: an article has a time if it is scheduled, and only then. */
function checkPublishAt(
  { article }: { article: { status?: ArticleStatus | undefined; publishAt?: string | null | undefined } },
  context: z.RefinementCtx,
): void {
  const problem = publishAtProblem(article.status, article.publishAt ?? null);
  if (problem !== undefined) context.addIssue({ code: "custom", path: ["article", "publishAt"], message: problem });
}

function publishAtProblem(status: ArticleStatus | undefined, publishAt: string | null): string | undefined {
  if (status !== "scheduled") return publishAt === null ? undefined : "requires the status scheduled";
  if (publishAt === null) return "can't be blank";
  const ahead = Date.parse(publishAt) - Date.now();
  if (ahead <= 0) return "must be in the future";
  return ahead > AHEAD_MAX_MS ? "must be within a year" : undefined;
}

export const NewArticleBody = envelope("article", {
  title,
  description,
  body,
  tagList: tagList.default([]),
  status: status.default("published"),
  publishAt,
})
  .superRefine(checkPublishAt)
  .meta({ id: "NewArticleRequest" });

/**
 * In bytes. A body of 1 MiB fits also where the client escapes every letter beyond ASCII (`\u00e9`), which triples it; the
 * rest is for the other fields.
 */
export const ARTICLE_REQUEST_SIZE_MAX = 3 * 1024 * 1024 + 64 * 1024;

/** Absent stays as it is; nothing of an article can be null. */
export const UpdateArticleBody = envelope("article", {
  title: title.optional(),
  description: description.optional(),
  body: body.optional(),
  tagList: tagList.optional(),
  autosave: z.boolean({ error: "must be true or false" }).optional().meta({
    description:
      "Whether the editor saves by itself. Of the versions that are saved so, at most one in ten minutes becomes a revision.",
  }),
  status: status.optional(),
  publishAt,
})
  .superRefine(checkPublishAt)
  .meta({ id: "UpdateArticleRequest", description: "Absent fields keep their value." });

/** Lists of articles with any filters sort by the same columns, so they share their cursors. */
export const ArticleCursor = cursorOf("articles", { publishedAt: position.time, id: position.id });

export const PageQuery = z.object({
  limit: wholeNumber(1, 100, 20).meta({
    description: "The number of articles to return. Values above 100 count as 100.",
  }),
  offset: wholeNumber(0, Number.MAX_SAFE_INTEGER, 0).meta({
    description: "The number of articles to skip, after the cursor if there is one",
  }),
  cursor: ArticleCursor.parameter,
});

/** Results of a search sort by score. All pages rank the articles that existed when the first one was read. */
export const SearchCursor = cursorOf("search", {
  newest: position.id,
  score: z.int().min(0).max(2_000_000_000),
  id: position.id,
});

const Filters = PageQuery.extend({
  tag: filter.meta({ description: "Return only articles with this tag" }),
  author: filter.meta({ description: "Return only articles by the user with this username" }),
  favorited: filter.meta({ description: "Return only articles that the user with this username has favorited" }),
});

export const SearchQuery = Filters.extend({
  q: searchText.meta({
    description:
      'What to search for, at most 200 characters: all words, `"a phrase"`, `-excluded`, `one or another`. At most 8 terms count.',
  }),
  cursor: SearchCursor.parameter,
});

/** Without `q`, the newest articles first; with it, those that match best. */
export const ListQuery = Filters.extend({
  q: searchText
    .transform((value) => value || undefined)
    .optional()
    .meta({ description: "Return only articles that match this search, the best match first: see `GET /search`" }),
  cursor: z.union([ArticleCursor.parameter, SearchCursor.parameter], { error: "is invalid" }).meta({
    wire: { type: "string" },
    description: "Where the page begins: the `nextCursor` of the page before, with the same filters",
  }),
}).superRefine(({ q, cursor }, context) => {
  if (cursor === undefined || "score" in cursor === (q !== undefined)) return;
  context.addIssue({ code: "custom", path: ["cursor"], message: "is invalid" });
});

export const ArticlePreview = z
  .object({
    slug: z.string(),
    title: z.string(),
    description: z.string(),
    excerpt: z.string().meta({
      description: "The beginning of the body as plain text, at most 200 characters. Empty if the body has no text.",
    }),
    wordCount: z.int().nonnegative().meta({
      description: "The words of the body. Each Chinese or Japanese character counts as one.",
    }),
    readingTime: z.int().positive().meta({ description: "Minutes to read the body, rounded up" }),
    tagList: z.array(z.string()),
    createdAt: timestamp.meta({ description: "When it was written, maybe as a draft" }),
    publishedAt: timestamp.meta({ description: "When it was first published; lists sort by it" }),
    updatedAt: timestamp,
    version: z.int().positive().meta({ description: "Starts at 1; every edit of the text by the author raises it" }),
    favorited: z.boolean().meta({ description: "Whether the current user has favorited the article" }),
    favoritesCount: z.int().nonnegative(),
    author: Profile,
  })
  .meta({ id: "ArticlePreview", description: "An article without its body, as it appears in lists" });

/** Of an article that may be a draft. */
const publication = {
  publishedAt: timestamp.nullable().meta({ description: "When it was first published; null if it never was" }),
  status: z.enum(STATUSES).meta({ description: "Only its author sees an article that is not `published`" }),
  publishAt: timestamp.nullable().meta({ description: "When it will be published; null unless it is `scheduled`" }),
};

export const Article = ArticlePreview.extend({ ...publication, body: z.string() }).meta({ id: "Article" });

export const OwnArticle = ArticlePreview.extend(publication).meta({
  id: "OwnArticle",
  description: "An article that is not published, without its body, for its author",
});

/** The newest first, by creation. */
export const DraftCursor = cursorOf("drafts", { id: position.id });

export const DraftsQuery = z.object({
  status: z.enum(["draft", "scheduled"], { error: "must be draft or scheduled" }).optional().meta({
    description: "Return only articles with this status. Published ones are in `GET /articles?author=…`.",
  }),
  limit: wholeNumber(1, 100, 20).meta({
    description: "The number of articles to return. Values above 100 count as 100.",
  }),
  cursor: DraftCursor.parameter,
});

export const DraftsResponse = z.object({ articles: z.array(OwnArticle), nextCursor }).meta({ id: "DraftsResponse" });

export const ArticleResponse = z.object({ article: Article }).meta({ id: "ArticleResponse" });

export const ArticleQuery = z.object({
  format: z
    .enum(["markdown", "html"], "must be markdown or html")
    .default("markdown")
    .meta({ description: "`html` adds `bodyHtml`" }),
});

export const ReadArticleResponse = z
  .object({
    article: Article.extend({
      bodyHtml: z.string().optional().meta({
        description:
          "With `format=html`: the body as HTML that is safe to show next to anything, from a list of allowed elements and attributes",
      }),
    }),
  })
  .meta({ id: "ReadArticleResponse" });

export const StaleArticleResponse = ErrorResponse.extend({ article: Article }).meta({
  id: "StaleArticleResponse",
  description: "The error, and the article as it is now",
});

export const ArticlesResponse = z
  .object({
    articles: z.array(ArticlePreview),
    articlesCount: z
      .int()
      .nonnegative()
      .meta({ description: "The number of all matching articles, on this page and on others" }),
    nextCursor,
  })
  .meta({ id: "ArticlesResponse" });

export type ArticleStatus = (typeof STATUSES)[number];
export type OwnArticle = z.output<typeof OwnArticle>;
export type DraftList = z.output<typeof DraftsResponse>;
export type DraftFilters = z.output<typeof DraftsQuery>;
export type ArticlePreview = z.output<typeof ArticlePreview>;
export type Article = z.output<typeof Article>;
export type ArticleList = z.output<typeof ArticlesResponse>;

export type NewArticle = z.output<typeof NewArticleBody>["article"];
export type ArticleUpdate = z.output<typeof UpdateArticleBody>["article"];
export type Page = z.output<typeof PageQuery>;
export type ListFilters = z.output<typeof Filters>;
export type SearchFilters = z.output<typeof SearchQuery>;
