import { Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { linkNextPage } from "../../../http/cursor.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { json, query } from "../../../http/validation.ts";
import { type Guards, markBadToken } from "../../identity/guards.ts";
import { SearchQuery } from "../schema.ts";
import { searchArticles } from "./queries.ts";
import { SearchResponse, SuggestionsQuery, SuggestionsResponse } from "./schema.ts";
import { suggest } from "./suggestions.ts";

export function searchRoutes(db: Database, { optionalUser }: Guards) {
  return new Hono()
    .get(
      "/search",
      optionalUser,
      query(SearchQuery),
      async (c) => {
        const { viewerGone, ...results } = await searchArticles(db, c.var.viewerId, c.var.query);
        if (viewerGone) markBadToken(c);
        linkNextPage(c, results.nextCursor);
        return json(c, results);
      },
      describeRoute({
        operationId: "SearchArticles",
        tag: "Search",
        summary: "Search articles",
        description:
          "The best matches first: words in the title count more than tags, the description and the body, in this order. An article is found within a second of its publication. If nothing matches, known words that are similar are searched for: `correctedQuery`.",
        responses: { 200: SearchResponse, 304: null },
      }),
    )

    .get(
      "/search/suggestions",
      query(SuggestionsQuery),
      async (c) => json(c, await suggest(db, c.var.query)),
      describeRoute({
        operationId: "GetSuggestions",
        tag: "Search",
        summary: "Suggest what to search for",
        description:
          "For a search field, while the reader types: titles with these words, of which the last may be incomplete (from 2 characters on), tags and usernames that begin so. Similar usernames, if none begins so.",
        responses: { 200: SuggestionsResponse, 304: null },
      }),
    );
}
