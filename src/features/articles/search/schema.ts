import { z } from "zod";
import { nextCursor } from "../../../http/cursor.ts";
import { searchText, wholeNumber } from "../../../http/fields.ts";
import { ArticlePreview } from "../schema.ts";

export const Range = z.object({ start: z.int().nonnegative(), end: z.int().nonnegative() }).meta({
  id: "TextRange",
  description: "A part of a text, in UTF-16 code units: JavaScript's `text.slice(start, end)`",
});

export const Highlights = z
  .object({
    title: z.array(Range),
    description: z.array(Range),
    body: z
      .object({ text: z.string(), ranges: z.array(Range) })
      .nullable()
      .meta({
        description:
          "An excerpt of at most 240 characters, without the marks of Markdown; null if nothing matches in the beginning of the body",
      }),
  })
  .meta({
    id: "SearchHighlights",
    description: "Where the words of the search occur. The texts are plain text, not HTML",
  });

export const FoundArticle = ArticlePreview.extend({ highlights: Highlights }).meta({ id: "FoundArticle" });

export const SearchResponse = z
  .object({
    articles: z.array(FoundArticle),
    articlesCount: z.int().nonnegative().meta({
      description: "The number of results on all pages. Of more than 200 matches, the list has only 200 to 400.",
    }),
    nextCursor,
    correctedQuery: z.string().nullable().meta({
      description: "What these are the results of, if nothing matches `q` itself: with typing errors corrected",
    }),
  })
  .meta({ id: "SearchResponse" });

export const SuggestionsQuery = z.object({
  q: searchText.meta({ description: "What the reader has typed so far" }),
  limit: wholeNumber(1, 10, 5).meta({
    description: "The number of suggestions of each kind. Values above 10 count as 10.",
  }),
});

export const SuggestionsResponse = z
  .object({
    titles: z.array(z.object({ slug: z.string(), title: z.string() })),
    tags: z.array(z.string()),
    usernames: z.array(z.string()),
  })
  .meta({ id: "SuggestionsResponse" });

export type FoundArticle = z.output<typeof FoundArticle>;
export type Range = z.output<typeof Range>;
export type Highlights = z.output<typeof Highlights>;
export type SearchResults = z.output<typeof SearchResponse>;
export type Suggestions = z.output<typeof SuggestionsResponse>;
export type SuggestionsFilters = z.output<typeof SuggestionsQuery>;
