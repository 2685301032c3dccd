import type { ArticlePreview } from "../../features/articles/schema.ts";
import type { Profile } from "../../features/profiles/schema.ts";
import { PostDate, pictureOf, profilePath } from "./people.tsx";

export const articlePath = (slug: string): string => `/article/${slug}`;
export const revisionsPath = (slug: string): string => `/editor/${slug}/revisions`;
export const tagPath = (tag: string): string => `/tag/${encodeURIComponent(tag)}`;

/** Articles of a list, or what to say where there are none. */
export function Previews({ articles, empty }: { articles: readonly ArticlePreview[]; empty: string }) {
  if (articles.length === 0) return <p class="empty">{empty}</p>;
  return (
    <>
      {articles.map((article) => (
        <Preview article={article} />
      ))}
    </>
  );
}

function Preview({ article }: { article: ArticlePreview }) {
  const { slug, title, description, author, publishedAt, readingTime, tagList } = article;
  return (
    <article class="article-preview">
      <div class="article-meta">
        <img src={pictureOf(author.image)} alt="" width="32" height="32" />
        <a class="author" href={profilePath(author.username)}>
          {author.username}
        </a>
        <PostDate iso={publishedAt} />
        <ReadingTime minutes={readingTime} />
      </div>
      <a class="preview-link" href={articlePath(slug)}>
        {/* Below the heading of the page. */}
        <h1 class="preview-title" aria-level={2}>
          {title}
        </h1>
        <p>{description}</p>
      </a>
      <div class="preview-foot">
        <Tags tags={tagList} />
        <FavoriteButton article={article} isShort />
      </div>
    </article>
  );
}

export function ReadingTime({ minutes }: { minutes: number }) {
  return <span class="reading-time">{minutes} min read</span>;
}

export function Tags({ tags }: { tags: readonly string[] }) {
  return (
    <ul class="tag-list">
      {tags.map((tag) => (
        <li class="tag-default">
          <a href={tagPath(tag)}>{tag}</a>
        </li>
      ))}
    </ul>
  );
}

/**
 * A form of one button, which leads back to the page that it is on.
 * @param isShort whether the button shows the number alone
 */
export function FavoriteButton({ article, isShort = false }: { article: ArticlePreview; isShort?: boolean }) {
  const { slug, title, favorited, favoritesCount } = article;
  const verb = favorited ? "Unfavorite" : "Favorite";
  return (
    <form method="post" action={`${articlePath(slug)}/${favorited ? "unfavorite" : "favorite"}`}>
      <button
        class={favorited ? "btn btn-sm btn-primary" : "btn btn-sm btn-outline-primary"}
        type="submit"
        aria-label={isShort ? `${verb} ${title}, ${favoritesCount} so far` : undefined}
      >
        <Heart isFull={favorited} />
        {isShort ? null : `${verb} `}
        <span class="count">{favoritesCount}</span>
      </button>
    </form>
  );
}

function Heart({ isFull }: { isFull: boolean }) {
  return (
    <svg class="heart" width="15" height="15" viewBox="0 0 16 16" aria-hidden="true">
      <path
        d="M8 14s-5.6-3.3-5.6-7.4A3.1 3.1 0 0 1 8 4.8a3.1 3.1 0 0 1 5.6 1.8C13.6 10.7 8 14 8 14Z"
        fill={isFull ? "currentColor" : "none"}
        stroke="currentColor"
        stroke-width="1.4"
      />
    </svg>
  );
}

export function FollowButton({ profile: { username, following } }: { profile: Profile }) {
  return (
    <form method="post" action={`${profilePath(username)}/${following ? "unfollow" : "follow"}`}>
      <button class={following ? "btn btn-sm btn-secondary" : "btn btn-sm btn-outline-secondary"} type="submit">
        {following ? "Unfollow" : "Follow"} {username}
      </button>
    </form>
  );
}
