import { type Context, Hono } from "hono";
import { listArticles, listFeed } from "../features/articles/lists.ts";
import { listTags } from "../features/tags/queries.ts";
import { showToAll, type WebContext } from "./app.ts";
import type { WithViewer } from "./browser-session.ts";
import { type Feed, homePage } from "./pages/home.tsx";
import { pageOf } from "./parts/pagination.tsx";
import { pageNumber, redirectTo, wantsPage } from "./requests.ts";

/** In the sidebar: the tags that most articles have, and those of the articles on the page, so that a new tag appears at once. */
const POPULAR_TAGS = 40;
const TAGS_MAX = 60;

/** The lists of articles: all, those of the feed, and those with a tag. */
export function homeRoutes(web: WebContext) {
  const { db, sessions } = web;

  function showFeed(c: Context<WithViewer>, feed: Feed): Promise<Response> {
    const page = pageNumber(c);
    const filters = { ...pageOf(page), tag: feed.kind === "tag" ? feed.tag : undefined };
    return showToAll(c, web, homePage, `home ${JSON.stringify([feed, page])}`, async (viewerId) => {
      const [list, popular] = await Promise.all([
        feed.kind === "following" && viewerId !== null
          ? { value: await listFeed(db, viewerId, filters), topics: [] }
          : listArticles(db, viewerId, filters),
        listTags(db, { q: undefined, limit: POPULAR_TAGS }),
      ]);
      const shown = list.value.articles.flatMap(({ tagList }) => tagList);
      const tags = [...new Set([...popular.value.tags, ...shown])].slice(0, TAGS_MAX);
      return { props: { feed, list: list.value, tags, page }, topics: [...list.topics, ...popular.topics] };
    });
  }

  return new Hono<WithViewer>()
    .get("/", sessions.optionalViewer, async (c, next) => {
      c.header("Vary", "Accept", { append: true });
      // Programs get the index of the API.
      if (!wantsPage(c)) return next();
      if (c.req.query("feed") !== "following") return showFeed(c, { kind: "global" });
      return c.var.viewer === null ? redirectTo(c, "/login") : showFeed(c, { kind: "following" });
    })

    .get("/tag/:tag", sessions.optionalViewer, (c) => showFeed(c, { kind: "tag", tag: c.req.param("tag") }));
}
