import type { ArticleList } from "../../features/articles/schema.ts";
import type { Profile } from "../../features/profiles/schema.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { FollowButton, Previews } from "../parts/article.tsx";
import { Pagination, pageHref } from "../parts/pagination.tsx";
import { pictureOf, profilePath } from "../parts/people.tsx";
import { Tab } from "../parts/tab.tsx";

type ProfileProps = {
  frame: Frame;
  profile: Profile;
  /** Whether the list has the articles that this user has favorited, not those they wrote. */
  isFavorites: boolean;
  list: Pick<ArticleList, "articles" | "articlesCount">;
  /** From 1. */
  page: number;
};

export function profilePage({ frame, profile, isFavorites, list, page }: ProfileProps): Page {
  const { username, bio, image } = profile;
  const own = profilePath(username);
  const path = isFavorites ? `${own}/favorites` : own;
  const empty = isFavorites ? "No favorited articles yet." : "No articles yet.";
  return (
    <Layout
      title={isFavorites ? `Favorites of ${username}` : username}
      description={bio ?? `Articles by ${username} on Conduit.`}
      frame={frame}
      path={pageHref(path, page)}
      feed={{ title: `Articles by ${username}`, path: own }}
      type="profile"
      data={{ "@type": "ProfilePage", mainEntity: { "@type": "Person", name: username, url: frame.site + own } }}
      width="full"
    >
      <div class="profile-page">
        <header class="user-info">
          <img class="user-img" src={pictureOf(image)} alt="" width="96" height="96" />
          <div>
            <h4 aria-level={1}>{username}</h4>
            <p>{bio}</p>
          </div>
          {frame.viewer?.username === username ? (
            <a class="btn btn-sm" href="/settings">
              Edit Profile Settings
            </a>
          ) : (
            <FollowButton profile={profile} />
          )}
        </header>
        <div class="feed-toggle">
          <Tab href={own} text="Articles" isActive={!isFavorites} />
          <Tab href={`${own}/favorites`} text="Favorited Articles" isActive={isFavorites} />
          {frame.viewer?.username === username ? <Tab href="/drafts" text="Drafts" isActive={false} /> : null}
        </div>
        <Previews articles={list.articles} empty={page === 1 ? empty : "There is no such page."} />
        <Pagination count={list.articlesCount} page={page} path={path} />
      </div>
    </Layout>
  );
}
