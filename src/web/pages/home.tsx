import type { ArticleList } from "../../features/articles/schema.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { Previews, tagPath } from "../parts/article.tsx";
import { Pagination, pageHref } from "../parts/pagination.tsx";
import { Tab } from "../parts/tab.tsx";

/** Which articles the page lists: all, those by authors whom the viewer follows, or those with a tag. */
export type Feed = { readonly kind: "global" | "following" } | { readonly kind: "tag"; readonly tag: string };

type HomeProps = {
  frame: Frame;
  feed: Feed;
  list: Pick<ArticleList, "articles" | "articlesCount">;
  tags: readonly string[];
  /** From 1. */
  page: number;
};

const DESCRIPTION = "Articles by people who share what they know: software, food, gardens, journeys and much else.";

export function homePage({ frame, feed, list, tags, page }: HomeProps): Page {
  const path = pathOf(feed);
  const title = feed.kind === "tag" ? `Articles about ${feed.tag}` : feed.kind === "global" ? "Conduit" : "Your feed";
  return (
    <Layout
      title={page === 1 ? title : `${title}, page ${page}`}
      description={feed.kind === "tag" ? `The newest articles on Conduit with the tag “${feed.tag}”.` : DESCRIPTION}
      frame={frame}
      path={pageHref(path, page)}
      feed={
        feed.kind === "following"
          ? undefined
          : { title: feed.kind === "tag" ? title : "New articles", path: feed.kind === "tag" ? path : "" }
      }
      data={{ "@type": "WebSite", name: "Conduit", url: `${frame.site}/` }}
      width="full"
    >
      {frame.viewer === null && feed.kind === "global" && page === 1 ? (
        <header class="banner">
          <div class="container">
            <h1>A place to share what you know.</h1>
            <p>Stories and ideas from people who make things: software, food, gardens, journeys.</p>
          </div>
        </header>
      ) : (
        <h1 class="visually-hidden">{title}</h1>
      )}
      <div class="container columns">
        <div>
          <FeedTabs feed={feed} />
          {feed.kind === "following" && list.articlesCount === 0 ? (
            <EmptyFeed />
          ) : (
            <Previews
              articles={list.articles}
              empty={page === 1 ? "No articles here yet." : "There is no such page."}
            />
          )}
          <Pagination count={list.articlesCount} page={page} path={path} />
        </div>
        <aside class="sidebar">
          <h2>Popular tags</h2>
          <div class="tag-list">
            {tags.map((tag) => (
              <a class="tag-pill" href={tagPath(tag)}>
                {tag}
              </a>
            ))}
          </div>
        </aside>
      </div>
    </Layout>
  );
}

function pathOf(feed: Feed): string {
  if (feed.kind === "tag") return tagPath(feed.tag);
  return feed.kind === "following" ? "/?feed=following" : "/";
}

function FeedTabs({ feed }: { feed: Feed }) {
  return (
    <div class="feed-toggle">
      <Tab href="/?feed=following" text="Your Feed" isActive={feed.kind === "following"} />
      <Tab href="/" text="Global Feed" isActive={feed.kind === "global"} />
      {feed.kind === "tag" ? <Tab href={tagPath(feed.tag)} text={feed.tag} isActive /> : null}
    </div>
  );
}

function EmptyFeed() {
  return (
    <div class="empty-feed-message">
      <p>Your feed is empty.</p>
      <p>
        Follow authors to see their articles here. You find them in the{" "}
        <a class="link" href="/">
          Global Feed
        </a>
        .
      </p>
    </div>
  );
}
