import { raw } from "hono/html";
import type { Article } from "../../features/articles/schema.ts";
import type { Comment } from "../../features/comments/schema.ts";
import type { Frame, Viewer } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { articlePath, FavoriteButton, FollowButton, ReadingTime, Tags } from "../parts/article.tsx";
import { Problems } from "../parts/form.tsx";
import { PostDate, pictureOf, profilePath } from "../parts/people.tsx";

type ArticleProps = {
  frame: Frame;
  /** The body is HTML, from `renderBody`. */
  article: Article;
  comments: readonly Comment[];
  /** The cursor of the comments before these; null if there are none. */
  olderComments: string | null;
  /** What was wrong with a comment, which the form then has again. */
  draft?: { text: string; problems: readonly string[] };
};

export function articlePage({ frame, article, comments, olderComments, draft }: ArticleProps): Page {
  const { slug, title, description, author, tagList } = article;
  const isOwn = frame.viewer?.username === author.username;
  return (
    <Layout
      title={title}
      description={description}
      frame={frame}
      path={articlePath(slug)}
      type="article"
      data={dataOf(article, frame)}
      width="full"
      head={
        <>
          <meta property="article:published_time" content={article.publishedAt} />
          <meta property="article:modified_time" content={article.updatedAt} />
          <meta property="article:author" content={frame.site + profilePath(author.username)} />
        </>
      }
    >
      <div class="article-page">
        <header class="article-header">
          <h1>{title}</h1>
          <p class="lead">{description}</p>
          <div class="article-meta">
            <Byline article={article} />
            <div class="actions">
              {isOwn ? <AuthorActions slug={slug} /> : <FollowButton profile={author} />}
              <FavoriteButton article={article} />
            </div>
          </div>
        </header>
        <div class="article-content">{raw(article.body)}</div>
        <div class="after-article">
          <Tags tags={tagList} />
          <FavoriteButton article={article} />
        </div>
        <section class="comments" aria-labelledby="comments">
          <h2 id="comments">Comments</h2>
          {frame.viewer === null ? (
            <p class="muted">
              <a class="link" href={`/login?next=${encodeURIComponent(articlePath(slug))}`}>
                Sign in
              </a>{" "}
              or{" "}
              <a class="link" href={`/register?next=${encodeURIComponent(articlePath(slug))}`}>
                sign up
              </a>{" "}
              to write a comment.
            </p>
          ) : (
            <CommentForm slug={slug} viewer={frame.viewer} draft={draft} />
          )}
          {comments.map((comment) => (
            <CommentCard
              slug={slug}
              comment={comment}
              mayDelete={frame.viewer !== null && (isOwn || frame.viewer.username === comment.author.username)}
            />
          ))}
          {comments.length === 0 && olderComments === null ? <p class="empty">No comments yet.</p> : null}
          {olderComments === null ? null : (
            <a class="btn" href={`${articlePath(slug)}?comments=${olderComments}#comments`}>
              Older comments
            </a>
          )}
        </section>
      </div>
    </Layout>
  );
}

function Byline({ article: { author, publishedAt, readingTime } }: { article: Article }) {
  return (
    <>
      <img class="author-pic" src={pictureOf(author.image)} alt="" width="44" height="44" />
      <div class="by">
        <a class="author" href={profilePath(author.username)}>
          {author.username}
        </a>
        <PostDate iso={publishedAt} />
        <ReadingTime minutes={readingTime} />
      </div>
    </>
  );
}

function AuthorActions({ slug }: { slug: string }) {
  return (
    <>
      <a class="btn btn-sm btn-outline-secondary" href={`/editor/${slug}`}>
        Edit Article
      </a>
      <form method="post" action={`${articlePath(slug)}/delete`}>
        <button class="btn btn-sm btn-outline-danger" type="submit">
          Delete Article
        </button>
      </form>
    </>
  );
}

function CommentForm({ slug, viewer, draft }: { slug: string; viewer: Viewer; draft: ArticleProps["draft"] }) {
  return (
    <>
      <Problems problems={draft?.problems} />
      <form class="card comment-form" method="post" action={`${articlePath(slug)}/comments`}>
        <textarea
          name="body"
          placeholder="Write a comment..."
          aria-label="Your comment"
          rows={3}
          maxlength={10_000}
          required
        >
          {draft?.text}
        </textarea>
        <div class="card-footer">
          <img class="comment-author-img" src={pictureOf(viewer.image)} alt="" width="32" height="32" />
          <button class="btn btn-sm btn-primary" type="submit">
            Post Comment
          </button>
        </div>
      </form>
    </>
  );
}

function CommentCard({ slug, comment, mayDelete }: { slug: string; comment: Comment; mayDelete: boolean }) {
  const { id, author, body, createdAt } = comment;
  return (
    <article class="card" id={`comment-${id}`} aria-label={`Comment by ${author.username}`}>
      <div class="card-block">
        <p class="card-text">{body}</p>
      </div>
      <div class="card-footer">
        <img class="comment-author-img" src={pictureOf(author.image)} alt="" width="32" height="32" />
        <a class="author" href={profilePath(author.username)}>
          {author.username}
        </a>
        <PostDate iso={createdAt} />
        {mayDelete ? (
          <span class="mod-options">
            <form method="post" action={`${articlePath(slug)}/comments/${id}/delete`}>
              <button type="submit" aria-label={`Delete the comment by ${author.username}`}>
                <i class="ion-trash-a" />
              </button>
            </form>
          </span>
        ) : null}
      </div>
    </article>
  );
}

/** https://schema.org/Article */
function dataOf(
  { slug, title, description, author, publishedAt, updatedAt, tagList }: Article,
  { site }: Frame,
): object {
  return {
    "@type": "Article",
    headline: title,
    description,
    url: site + articlePath(slug),
    datePublished: publishedAt,
    dateModified: updatedAt,
    keywords: tagList,
    author: { "@type": "Person", name: author.username, url: site + profilePath(author.username) },
  };
}
