// Generated from the routes by `npm run client`. Do not edit.

export type Article = {
  slug: string;
  title: string;
  description: string;
  /** The beginning of the body as plain text, at most 200 characters. Empty if the body has no text. */
  excerpt: string;
  /** The words of the body. Each Chinese or Japanese character counts as one. */
  wordCount: number;
  /** Minutes to read the body, rounded up */
  readingTime: number;
  tagList: string[];
  /** When it was written, maybe as a draft */
  createdAt: string;
  /** When it was first published; null if it never was */
  publishedAt: string | null;
  updatedAt: string;
  /** Starts at 1; every edit of the text by the author raises it */
  version: number;
  /** Whether the current user has favorited the article */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
  /** Only its author sees an article that is not `published` */
  status: "draft" | "scheduled" | "published";
  /** When it will be published; null unless it is `scheduled` */
  publishAt: string | null;
  body: string;
};

/** An article without its body, as it appears in lists */
export type ArticlePreview = {
  slug: string;
  title: string;
  description: string;
  /** The beginning of the body as plain text, at most 200 characters. Empty if the body has no text. */
  excerpt: string;
  /** The words of the body. Each Chinese or Japanese character counts as one. */
  wordCount: number;
  /** Minutes to read the body, rounded up */
  readingTime: number;
  tagList: string[];
  /** When it was written, maybe as a draft */
  createdAt: string;
  /** When it was first published; lists sort by it */
  publishedAt: string;
  updatedAt: string;
  /** Starts at 1; every edit of the text by the author raises it */
  version: number;
  /** Whether the current user has favorited the article */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
};

export type ArticleResponse = {
  article: Article;
};

export type ArticlesResponse = {
  articles: ArticlePreview[];
  /** The number of all matching articles, on this page and on others */
  articlesCount: number;
  /** The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page. */
  nextCursor: string | null;
};

export type Comment = {
  id: number;
  createdAt: string;
  updatedAt: string;
  body: string;
  author: Profile;
};

export type CommentResponse = {
  comment: Comment;
};

export type CommentsResponse = {
  comments: Comment[];
  /** The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page. */
  nextCursor: string | null;
};

/** How two versions of an article differ, by words */
export type Diff = {
  from: number;
  /** Null is the article as it is now */
  to: number | null;
  title: DiffPart[];
  description: DiffPart[];
  body: DiffPart[];
  /** Each part is a tag */
  tagList: DiffPart[];
};

/** A part of both texts, of the older alone, or of the newer alone */
export type DiffPart = {
  kind: "same" | "removed" | "added";
  text: string;
};

export type DiffResponse = {
  diff: Diff;
};

export type DraftsResponse = {
  articles: OwnArticle[];
  /** The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page. */
  nextCursor: string | null;
};

export type ErrorResponse = {
  /** The problems, by the name of the field, parameter or resource */
  errors: Record<string, string[]>;
};

export type ForgotPasswordRequest = {
  email: string;
};

export type FoundArticle = {
  slug: string;
  title: string;
  description: string;
  /** The beginning of the body as plain text, at most 200 characters. Empty if the body has no text. */
  excerpt: string;
  /** The words of the body. Each Chinese or Japanese character counts as one. */
  wordCount: number;
  /** Minutes to read the body, rounded up */
  readingTime: number;
  tagList: string[];
  /** When it was written, maybe as a draft */
  createdAt: string;
  /** When it was first published; lists sort by it */
  publishedAt: string;
  updatedAt: string;
  /** Starts at 1; every edit of the text by the author raises it */
  version: number;
  /** Whether the current user has favorited the article */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
  highlights: SearchHighlights;
};

export type HealthResponse = {
  status: "ok" | "error";
  message: string;
  database: "connected" | "disconnected";
};

export type LiveResponse = {
  status: "ok";
};

export type LoginRequest = {
  user: {
    email: string;
    password: string;
  };
};

export type MessageResponse = {
  message: string;
};

export type NewArticleRequest = {
  article: {
    title: string;
    description: string;
    body: string;
    /** At most 20 tags of at most 50 characters each. The order is kept, duplicates and blank tags are removed. */
    tagList?: string[];
    status?: "draft" | "scheduled" | "published";
    /** When to publish the article, within a year. Required for the status `scheduled`, and for no other. */
    publishAt?: string | null;
  };
};

export type NewCommentRequest = {
  comment: {
    body: string;
  };
};

export type NewUserRequest = {
  user: {
    /** 3 to 50 visible characters without / ? # %. Letters are of one script; Latin may be mixed with Chinese, Japanese or Korean. Runs of spaces become one space. */
    username: string;
    email: string;
    password: string;
  };
};

/** An article that is not published, without its body, for its author */
export type OwnArticle = {
  slug: string;
  title: string;
  description: string;
  /** The beginning of the body as plain text, at most 200 characters. Empty if the body has no text. */
  excerpt: string;
  /** The words of the body. Each Chinese or Japanese character counts as one. */
  wordCount: number;
  /** Minutes to read the body, rounded up */
  readingTime: number;
  tagList: string[];
  /** When it was written, maybe as a draft */
  createdAt: string;
  /** When it was first published; null if it never was */
  publishedAt: string | null;
  updatedAt: string;
  /** Starts at 1; every edit of the text by the author raises it */
  version: number;
  /** Whether the current user has favorited the article */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
  /** Only its author sees an article that is not `published` */
  status: "draft" | "scheduled" | "published";
  /** When it will be published; null unless it is `scheduled` */
  publishAt: string | null;
};

export type Profile = {
  username: string;
  bio: string | null;
  image: string | null;
  /** Whether the current user follows this user */
  following: boolean;
};

export type ProfileResponse = {
  profile: Profile;
};

export type ReadArticleResponse = {
  article: {
    slug: string;
    title: string;
    description: string;
    /** The beginning of the body as plain text, at most 200 characters. Empty if the body has no text. */
    excerpt: string;
    /** The words of the body. Each Chinese or Japanese character counts as one. */
    wordCount: number;
    /** Minutes to read the body, rounded up */
    readingTime: number;
    tagList: string[];
    /** When it was written, maybe as a draft */
    createdAt: string;
    /** When it was first published; null if it never was */
    publishedAt: string | null;
    updatedAt: string;
    /** Starts at 1; every edit of the text by the author raises it */
    version: number;
    /** Whether the current user has favorited the article */
    favorited: boolean;
    favoritesCount: number;
    author: Profile;
    /** Only its author sees an article that is not `published` */
    status: "draft" | "scheduled" | "published";
    /** When it will be published; null unless it is `scheduled` */
    publishAt: string | null;
    body: string;
    /** With `format=html`: the body as HTML that is safe to show next to anything, from a list of allowed elements and attributes */
    bodyHtml?: string;
  };
};

export type ReadyResponse = {
  /** `degraded` is an outage of the database that has just begun, in which requests may wait for its end */
  status: "ok" | "degraded" | "error";
  checks: {
    name: "draining" | "database" | "migrations" | "writable";
    status: "ok" | "error";
    duration_ms: number;
    /** Why the check failed */
    error?: string;
  }[];
};

export type RefreshRequest = {
  refresh_token: string;
};

export type ResetPasswordRequest = {
  token: string;
  new_password: string;
};

export type Revision = {
  /** 1 is the oldest */
  number: number;
  title: string;
  description: string;
  tagList: string[];
  /** When this version was written */
  createdAt: string;
  /** When the next version replaced it */
  replacedAt: string;
  body: string;
};

/** A former version of an article, without its body */
export type RevisionPreview = {
  /** 1 is the oldest */
  number: number;
  title: string;
  description: string;
  tagList: string[];
  /** When this version was written */
  createdAt: string;
  /** When the next version replaced it */
  replacedAt: string;
};

export type RevisionResponse = {
  revision: Revision;
};

export type RevisionsResponse = {
  revisions: RevisionPreview[];
  /** The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page. */
  nextCursor: string | null;
};

/** Where the words of the search occur. The texts are plain text, not HTML */
export type SearchHighlights = {
  title: TextRange[];
  description: TextRange[];
  /** An excerpt of at most 240 characters, without the marks of Markdown; null if nothing matches in the beginning of the body */
  body: {
    text: string;
    ranges: TextRange[];
  } | null;
};

export type SearchResponse = {
  articles: FoundArticle[];
  /** The number of results on all pages. Of more than 200 matches, the list has only 200 to 400. */
  articlesCount: number;
  /** The `cursor` of the next page, which `Link: …; rel="next"` leads to. Null on the last page. */
  nextCursor: string | null;
  /** What these are the results of, if nothing matches `q` itself: with typing errors corrected */
  correctedQuery: string | null;
};

export type Session = {
  id: string;
  /** The browser and operating system that started the session, derived from the `User-Agent` header */
  device: string;
  ip: string | null;
  created_at: string;
  /** The time of the last refresh */
  last_used_at: string;
  /** Whether this request belongs to the session */
  current: boolean;
};

export type SessionsResponse = {
  sessions: Session[];
};

/** `user.token` equals `access_token`, for clients that know only the RealWorld contract. */
export type SignedInResponse = {
  user: User;
  /** The access token, for the `Authorization` header */
  access_token: string;
  /** The refresh token, for one request to `POST /api/auth/refresh` */
  refresh_token: string;
};

/** The error, and the article as it is now */
export type StaleArticleResponse = {
  /** The problems, by the name of the field, parameter or resource */
  errors: Record<string, string[]>;
  article: Article;
};

export type SuggestionsResponse = {
  titles: {
    slug: string;
    title: string;
  }[];
  tags: string[];
  usernames: string[];
};

export type TagsResponse = {
  tags: string[];
};

/** A part of a text, in UTF-16 code units: JavaScript's `text.slice(start, end)` */
export type TextRange = {
  start: number;
  end: number;
};

export type TokenPair = {
  /** The access token, for the `Authorization` header */
  access_token: string;
  /** The refresh token, for one request to `POST /api/auth/refresh` */
  refresh_token: string;
};

export type UndoEmailChangeRequest = {
  token: string;
  new_password: string;
};

/** Absent fields keep their value. */
export type UpdateArticleRequest = {
  article: {
    title?: string;
    description?: string;
    body?: string;
    /** At most 20 tags of at most 50 characters each. The order is kept, duplicates and blank tags are removed. */
    tagList?: string[];
    /** Whether the editor saves by itself. Of the versions that are saved so, at most one in ten minutes becomes a revision. */
    autosave?: boolean;
    status?: "draft" | "scheduled" | "published";
    /** When to publish the article, within a year. Required for the status `scheduled`, and for no other. */
    publishAt?: string | null;
  };
};

/** Absent fields keep their value. At least one field is required. */
export type UpdateUserRequest = {
  user: {
    /** 3 to 50 visible characters without / ? # %. Letters are of one script; Latin may be mixed with Chinese, Japanese or Korean. Runs of spaces become one space. */
    username?: string;
    email?: string;
    password?: string;
    bio?: string | null;
    /** The URL of a picture */
    image?: string | null;
    /** Required with `password` and with a new `email` if the server is set up so */
    currentPassword?: string;
  };
};

export type User = {
  email: string;
  /** Whether the user has verified the email address */
  email_verified: boolean;
  /** The access token, for the `Authorization` header */
  token: string;
  username: string;
  bio: string | null;
  image: string | null;
};

export type UserResponse = {
  user: User;
};

export type VerifyEmailRequest = {
  token: string;
};

export type WelcomeResponse = {
  name: "conduit";
  version: string;
  documentation: string;
  openapi: string;
  health: string;
};
