// Made by `npm run client` from the API's own description (openapi.json): not to be edited.

export type Article = {
  slug: string;
  title: string;
  description: string;
  tagList: string[];
  createdAt: string;
  updatedAt: string;
  /** Whether it is a favourite of the one who asks */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
  body: string;
};

/** An article without its body */
export type ArticlePreview = {
  slug: string;
  title: string;
  description: string;
  tagList: string[];
  createdAt: string;
  updatedAt: string;
  /** Whether it is a favourite of the one who asks */
  favorited: boolean;
  favoritesCount: number;
  author: Profile;
};

export type ArticleResponse = {
  article: Article;
};

export type ArticlesResponse = {
  articles: ArticlePreview[];
  /** Number of all matches, on this page or not */
  articlesCount: number;
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
};

export type ErrorResponse = {
  /** What is wrong, by the name of the field, parameter or resource. */
  errors: Record<string, string[]>;
};

export type ForgotPasswordRequest = {
  email: string;
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
    /** At most 20 tags of at most 50 characters each */
    tagList?: string[];
  };
};

export type NewCommentRequest = {
  comment: {
    body: string;
  };
};

export type NewUserRequest = {
  user: {
    /** 3 to 50 characters, none of them a control character or any of / ? # % */
    username: string;
    email: string;
    password: string;
  };
};

export type Profile = {
  username: string;
  bio: string | null;
  image: string | null;
  /** Whether the one who asks follows this user */
  following: boolean;
};

export type ProfileResponse = {
  profile: Profile;
};

export type ReadyResponse = {
  status: "ok" | "error";
  checks: {
    name: "draining" | "database" | "migrations";
    status: "ok" | "error";
    duration_ms: number;
    /** What is wrong, where something is. */
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

export type Session = {
  id: string;
  /** Made from the user agent that signed in */
  device: string;
  ip: string | null;
  created_at: string;
  /** When it was last refreshed */
  last_used_at: string;
  /** Whether it is the one that asks */
  current: boolean;
};

export type SessionsResponse = {
  sessions: Session[];
};

/** `user.token` is the `access_token`. */
export type SignedInResponse = {
  user: User;
  /** For the `Authorization` header */
  access_token: string;
  /** For `POST /api/auth/refresh`, once */
  refresh_token: string;
};

export type TagsResponse = {
  tags: string[];
};

export type TokenPair = {
  /** For the `Authorization` header */
  access_token: string;
  /** For `POST /api/auth/refresh`, once */
  refresh_token: string;
};

/** What is absent stays as it is. */
export type UpdateArticleRequest = {
  article: {
    title?: string;
    description?: string;
    body?: string;
    /** At most 20 tags of at most 50 characters each */
    tagList?: string[];
  };
};

/** What is absent stays as it is; at least one must be there. */
export type UpdateUserRequest = {
  user: {
    /** 3 to 50 characters, none of them a control character or any of / ? # % */
    username?: string;
    email?: string;
    password?: string;
    bio?: string | null;
    /** Address of a picture */
    image?: string | null;
  };
};

export type User = {
  email: string;
  /** Whether the address was confirmed */
  email_verified: boolean;
  /** For the `Authorization` header */
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

/** An answer that is no success. */
export class ConduitError extends Error {
  override readonly name = "ConduitError";

  constructor(
    readonly status: number,
    /** What is wrong, by the name of the field, parameter or resource; empty where the answer was not the API's. */
    readonly errors: Record<string, string[]>,
    /** For `Retry-After`, `WWW-Authenticate` and the like. */
    readonly headers: Headers,
    what: string,
  ) {
    super(what);
  }
}

export type ClientOptions = {
  /** Of the server, without `/api`, as in `https://conduit.example.com`. */
  baseUrl: string;
  /** Of a registration or login. A function is asked at each request. */
  token?: string | (() => string | undefined);
  /** Instead of the global `fetch`, for retries, tests and the like. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
};

export type Client = ReturnType<typeof operationsBy> & {
  /** The same server, for somebody else. */
  withToken(token: string): Client;
};

/** A client of one server. Its functions resolve to the body of the answer, and throw `ConduitError` for any that is no success. */
export function createClient(options: ClientOptions): Client {
  return { ...operationsBy(caller(options)), withToken: (token) => createClient({ ...options, token }) };
}

function operationsBy(call: ReturnType<typeof caller>) {
  return {
    /** Whether server and database run. */
    getHealth: (): Promise<HealthResponse> => call<HealthResponse>("GET", "/health"),

    /** Whether the process answers. For who restarts processes. The database is not asked: that it is away is no reason to restart a server. */
    getHealthLive: (): Promise<LiveResponse> => call<LiveResponse>("GET", "/health/live"),

    /** Whether to send requests here. For load balancers: 503 where the database is away, its schema is not the one this version needs, or the server is stopping. */
    getHealthReady: (): Promise<ReadyResponse> => call<ReadyResponse>("GET", "/health/ready"),

    /** What this is, and where to go. */
    getWelcome: (): Promise<WelcomeResponse> => call<WelcomeResponse>("GET", "/"),

    /** Register. */
    createUser: (args: { body: NewUserRequest }): Promise<SignedInResponse> =>
      call<SignedInResponse>("POST", "/api/users", args),

    /** Log in. */
    login: (args: { body: LoginRequest }): Promise<SignedInResponse> =>
      call<SignedInResponse>("POST", "/api/users/login", args),

    /** The own account. */
    getCurrentUser: (): Promise<UserResponse> => call<UserResponse>("GET", "/api/user"),

    /** Change the own account. A new password ends all other sessions. A new address is unconfirmed and is sent a link; the old one is told. */
    updateCurrentUser: (args: { body: UpdateUserRequest }): Promise<UserResponse> =>
      call<UserResponse>("PUT", "/api/user", args),

    /** Verify an email address by link. Takes the token from the query. Browsers (`Accept: text/html`) receive a page with a button instead, so that programs that open every link in an email do not verify the address. */
    verifyEmailByLink: (
      args: {
        /** The token from the link in the email */
        token?: string;
      } = {},
    ): Promise<MessageResponse> => call<MessageResponse>("GET", "/api/auth/verify-email", args),

    /** Verify an email address. Takes the token from the link in the email. A token works once. */
    verifyEmail: (args: { body: VerifyEmailRequest }): Promise<MessageResponse> =>
      call<MessageResponse>("POST", "/api/auth/verify-email", args),

    /** Resend the verification email. Sends a new link to the current user and ends earlier links. Returns 409 if the address is already verified. */
    resendVerification: (): Promise<MessageResponse> => call<MessageResponse>("POST", "/api/auth/resend-verification"),

    /** Request a password reset. Emails a link for choosing a new password. The response is the same whether or not a user has this address. */
    forgotPassword: (args: { body: ForgotPasswordRequest }): Promise<MessageResponse> =>
      call<MessageResponse>("POST", "/api/auth/forgot-password", args),

    /** Reset a password. Takes the token from the link in the email. Ends every session of the user. */
    resetPassword: (args: { body: ResetPasswordRequest }): Promise<MessageResponse> =>
      call<MessageResponse>("POST", "/api/auth/reset-password", args),

    /** New tokens. A refresh token is good once. Within 20 s it may come again, by a client that lost the answer; the pair of the answer before is worth nothing then. Later, it ends the session. */
    refreshSession: (args: { body: RefreshRequest }): Promise<TokenPair> =>
      call<TokenPair>("POST", "/api/auth/refresh", args),

    /** End the session of a refresh token. Its access tokens end with it. A token that is unknown or ended already is no error. */
    logOut: (args: { body: RefreshRequest }): Promise<MessageResponse> =>
      call<MessageResponse>("POST", "/api/auth/logout", args),

    /** Where one is signed in. */
    getSessions: (): Promise<SessionsResponse> => call<SessionsResponse>("GET", "/api/auth/sessions"),

    /** End all other sessions. */
    endOtherSessions: (): Promise<void> => call<void>("DELETE", "/api/auth/sessions"),

    /** End a session. */
    endSession: (args: { id: string }): Promise<void> => call<void>("DELETE", "/api/auth/sessions/{id}", args),

    /** A profile. */
    getProfileByUsername: (args: { username: string }): Promise<ProfileResponse> =>
      call<ProfileResponse>("GET", "/api/profiles/{username}", args),

    /** Follow a user. Following twice is following once. Oneself cannot be followed. */
    followUserByUsername: (args: { username: string }): Promise<ProfileResponse> =>
      call<ProfileResponse>("POST", "/api/profiles/{username}/follow", args),

    /** Follow a user no longer. */
    unfollowUserByUsername: (args: { username: string }): Promise<ProfileResponse> =>
      call<ProfileResponse>("DELETE", "/api/profiles/{username}/follow", args),

    /** Articles, newest first. */
    getArticles: (
      args: {
        /** How many to send; more than 100 is 100 */
        limit?: number;
        /** How many to leave out before */
        offset?: number;
        /** Only with this tag */
        tag?: string;
        /** Only by the user of this name */
        author?: string;
        /** Only favourites of the user of this name */
        favorited?: string;
      } = {},
    ): Promise<ArticlesResponse> => call<ArticlesResponse>("GET", "/api/articles", args),

    /** Publish an article. Its path (`slug`) is made of the title. Where another article has that path, it gets a suffix. */
    createArticle: (args: { body: NewArticleRequest }): Promise<ArticleResponse> =>
      call<ArticleResponse>("POST", "/api/articles", args),

    /** Articles of the authors one follows. */
    getArticlesFeed: (
      args: {
        /** How many to send; more than 100 is 100 */
        limit?: number;
        /** How many to leave out before */
        offset?: number;
      } = {},
    ): Promise<ArticlesResponse> => call<ArticlesResponse>("GET", "/api/articles/feed", args),

    /** An article. */
    getArticle: (args: { slug: string }): Promise<ArticleResponse> =>
      call<ArticleResponse>("GET", "/api/articles/{slug}", args),

    /** Change an own article. Its path (`slug`) follows a changed title. */
    updateArticle: (args: { slug: string; body: UpdateArticleRequest }): Promise<ArticleResponse> =>
      call<ArticleResponse>("PUT", "/api/articles/{slug}", args),

    /** Delete an own article. */
    deleteArticle: (args: { slug: string }): Promise<void> => call<void>("DELETE", "/api/articles/{slug}", args),

    /** Make an article a favourite. */
    createArticleFavorite: (args: { slug: string }): Promise<ArticleResponse> =>
      call<ArticleResponse>("POST", "/api/articles/{slug}/favorite", args),

    /** Make it none again. */
    deleteArticleFavorite: (args: { slug: string }): Promise<ArticleResponse> =>
      call<ArticleResponse>("DELETE", "/api/articles/{slug}/favorite", args),

    /** The comments on an article, newest first. */
    getArticleComments: (args: { slug: string }): Promise<CommentsResponse> =>
      call<CommentsResponse>("GET", "/api/articles/{slug}/comments", args),

    /** Comment on an article. */
    createArticleComment: (args: { slug: string; body: NewCommentRequest }): Promise<CommentResponse> =>
      call<CommentResponse>("POST", "/api/articles/{slug}/comments", args),

    /** Delete an own comment. */
    deleteArticleComment: (args: { slug: string; id: number }): Promise<void> =>
      call<void>("DELETE", "/api/articles/{slug}/comments/{id}", args),

    /** The tags in use, most used first. */
    getTags: (): Promise<TagsResponse> => call<TagsResponse>("GET", "/api/tags"),
  };
}

function caller({ baseUrl, token, fetch: send = (url, init) => fetch(url, init) }: ClientOptions) {
  return async function call<Answer>(method: string, template: string, args: Record<string, unknown> = {}) {
    const { body, ...rest } = args;
    const path = template.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = encodeURIComponent(String(rest[name]));
      delete rest[name];
      return value;
    });
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(rest)) if (value !== undefined) query.set(name, String(value));
    const credential = typeof token === "function" ? token() : token;
    const response = await send(`${baseUrl.replace(/\/$/, "")}${path}${query.size > 0 ? `?${query}` : ""}`, {
      method,
      headers: {
        Accept: "application/json",
        ...(credential === undefined ? {} : { Authorization: `Bearer ${credential}` }),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json") === true;
    const json: unknown = isJson && text !== "" ? JSON.parse(text) : undefined;
    if (response.ok) return json as Answer;
    const errors = (json as { errors?: Record<string, string[]> } | undefined)?.errors ?? {};
    const faults = Object.entries(errors).flatMap(([name, messages]) =>
      messages.map((message) => `${name} ${message}`),
    );
    const what = `${method} ${path}: ${response.status} ${faults.join("; ") || response.statusText}`;
    throw new ConduitError(response.status, errors, response.headers, what);
  };
}
