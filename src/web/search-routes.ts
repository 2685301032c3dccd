import { Hono } from "hono";
import { SearchQuery } from "../features/articles/schema.ts";
import { searchArticles } from "../features/articles/search/queries.ts";
import { parse } from "../http/validation.ts";
import { show, type WebContext } from "./app.ts";
import type { WithViewer } from "./browser-session.ts";
import { type SearchForm, searchPage } from "./pages/search.tsx";
import { problemsOf } from "./problems.ts";

const RESULTS_PER_PAGE = "10";

/** The search for articles. Its form is a GET, so results have an address. Not from memory, as the index changes later. */
export function searchRoutes(web: WebContext) {
  return new Hono<WithViewer>().get("/search", web.sessions.optionalViewer, async (c) => {
    const { q = "", tag = "", author = "", cursor } = c.req.query();
    const form: SearchForm = { q: q.trim(), tag: tag.trim(), author: author.trim() };
    if (form.q === "") return show(c, web, searchPage, { form });
    try {
      const filters = parse(SearchQuery, { ...form, cursor, limit: RESULTS_PER_PAGE }, "search");
      const results = await searchArticles(web.db, c.var.viewer?.id ?? null, filters);
      return show(c, web, searchPage, { form, results, isFirst: cursor === undefined });
    } catch (error) {
      const { status, texts } = problemsOf(c, error);
      return show(c, web, searchPage, { form, problems: texts }, { status });
    }
  });
}
