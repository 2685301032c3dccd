import type { DraftList, OwnArticle } from "../../features/articles/schema.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { articlePath } from "../parts/article.tsx";
import { PostDate, PostTime } from "../parts/people.tsx";

type DraftsProps = {
  frame: Frame;
  drafts: DraftList;
  /** Whether this is the first page. */
  isFirst: boolean;
};

/** The current user's articles that are not published. */
export function draftsPage({ frame, drafts: { articles, nextCursor }, isFirst }: DraftsProps): Page {
  return (
    <Layout title="Drafts" frame={frame} path="/drafts" width="wide">
      <h1>Drafts</h1>
      {articles.map((article) => (
        <Draft article={article} />
      ))}
      {articles.length > 0 ? null : (
        <p class="empty">{isFirst ? "You have no drafts and no scheduled articles." : "There are no more."}</p>
      )}
      {nextCursor === null ? null : (
        <a class="btn" href={`/drafts?cursor=${nextCursor}`}>
          Older drafts
        </a>
      )}
    </Layout>
  );
}

function Draft({ article: { slug, title, description, createdAt, publishAt } }: { article: OwnArticle }) {
  return (
    <article class="article-preview">
      <a class="preview-link" href={articlePath(slug)}>
        {/* Below the heading of the page. */}
        <h1 class="preview-title" aria-level={2}>
          {title}
        </h1>
        <p>{description}</p>
      </a>
      <div class="preview-foot">
        {publishAt === null ? (
          <span>
            Draft of <PostDate iso={createdAt} />
          </span>
        ) : (
          <span>
            Scheduled for <PostTime iso={publishAt} />
          </span>
        )}
        <a class="btn btn-sm" href={`/editor/${slug}`}>
          Edit
        </a>
      </div>
    </article>
  );
}
