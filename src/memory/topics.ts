/**
 * What can change. Each response in memory depends on some topics, and each write changes some: a response is no longer
 * served when one of its topics has changed. Ids are those of the tables, so none is ever used again.
 */
export const topics = {
  /** All that is shown of an article itself: its text, tags, slug and number of favourites. */
  article: (id: string) => `article ${id}`,
  /** All that is shown of a user: name, biography and image. */
  user: (id: string) => `user ${id}`,
  /** Which user has a name, if any. @param key of the username */
  name: (key: string) => `name ${key}`,
  /** Which articles there are. */
  articles: "articles",
  /** Which articles have a tag. */
  tag: (tag: string) => `tag ${tag}`,
  /** Which articles are by an author. */
  author: (userId: string) => `author ${userId}`,
  /** Which articles are favourites of a user. */
  favorites: (userId: string) => `favorites ${userId}`,
  /** Whom a user follows. */
  follows: (userId: string) => `follows ${userId}`,
  /** Which favourites the deletion or withdrawal of an article has removed from lists, or its return added, whoever had them. */
  deletions: "deletions",
  /** The comments on an article, and by which slug it is found. */
  comments: (articleId: string) => `comments ${articleId}`,
  /** Which tags are in use. */
  tags: "tags",
} as const;
