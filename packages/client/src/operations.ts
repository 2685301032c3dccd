// Generated from the routes by `npm run client`. Do not edit.

import type { Call, CallOptions } from "./request.ts";
import type {
  ArticleResponse,
  ArticlesResponse,
  CommentResponse,
  CommentsResponse,
  DiffResponse,
  ForgotPasswordRequest,
  HealthResponse,
  LiveResponse,
  LoginRequest,
  MessageResponse,
  NewArticleRequest,
  NewCommentRequest,
  NewUserRequest,
  ProfileResponse,
  ReadyResponse,
  RefreshRequest,
  ResetPasswordRequest,
  RevisionResponse,
  RevisionsResponse,
  SearchResponse,
  SessionsResponse,
  SignedInResponse,
  SuggestionsResponse,
  TagsResponse,
  TokenPair,
  UndoEmailChangeRequest,
  UpdateArticleRequest,
  UpdateUserRequest,
  UserResponse,
  VerifyEmailRequest,
  WelcomeResponse,
} from "./types.ts";

/** The operations of the API. `call` sends their requests. */
export function operationsOf(call: Call) {
  return {
    /** Check the health of server and database. Returns 503 if the server cannot reach the database. */
    getHealth: (options?: CallOptions): Promise<HealthResponse> => call("GET", "/health", {}, options),

    /** Check that the process responds. For process managers. It does not check the database, because restarting the server does not repair a database. */
    getHealthLive: (options?: CallOptions): Promise<LiveResponse> => call("GET", "/health/live", {}, options),

    /** Check that the server is ready for requests. For load balancers. Returns 503 if the database is unreachable or read-only, if migrations are missing, or while the server shuts down. Load does not make a server unready. */
    getHealthReady: (options?: CallOptions): Promise<ReadyResponse> => call("GET", "/health/ready", {}, options),

    /** Get an overview of the API. The name and version of the API, and where to find its documentation. Browsers receive a page. */
    getWelcome: (options?: CallOptions): Promise<WelcomeResponse> => call("GET", "/", {}, options),

    /** Register a user. Creates the user and starts a session. Returns 409 if the username or the email address is taken. */
    createUser: (
      args: {
        body: NewUserRequest;
      },
      options?: CallOptions,
    ): Promise<SignedInResponse> => call("POST", "/api/users", args, options),

    /** Sign in. Starts a session. Returns the same error for an unknown email address and for a wrong password. */
    login: (
      args: {
        body: LoginRequest;
      },
      options?: CallOptions,
    ): Promise<SignedInResponse> => call("POST", "/api/users/login", args, options),

    /** Get current user. The user that the access token belongs to. */
    getCurrentUser: (options?: CallOptions): Promise<UserResponse> => call("GET", "/api/user", {}, options),

    /** Update current user. A new password ends all other sessions. A new email address is unverified: the server sends a verification link to it and a notice to the old address, with a link to undo the change if that was verified. */
    updateCurrentUser: (
      args: {
        body: UpdateUserRequest;
      },
      options?: CallOptions,
    ): Promise<UserResponse> => call("PUT", "/api/user", args, options),

    /** Verify an email address by link. Takes the token from the query. Browsers (`Accept: text/html`) receive a page with a button instead, so that programs that open every link in an email do not verify the address. */
    verifyEmailByLink: (
      args: {
        /** The token from the link in the email */
        token: string;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("GET", "/api/auth/verify-email", args, options),

    /** Verify an email address. Takes the token from the link in the email. A token works once. */
    verifyEmail: (
      args: {
        body: VerifyEmailRequest;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("POST", "/api/auth/verify-email", args, options),

    /** Resend the verification email. Sends a new link to the current user and revokes earlier links. Returns 409 if the address is already verified. */
    resendVerification: (options?: CallOptions): Promise<MessageResponse> =>
      call("POST", "/api/auth/resend-verification", {}, options),

    /** Request a password reset. Emails a link for choosing a new password. The response is the same whether or not a user has this address. */
    forgotPassword: (
      args: {
        body: ForgotPasswordRequest;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("POST", "/api/auth/forgot-password", args, options),

    /** Reset a password. Takes the token from the link in the email. Ends every session of the user. */
    resetPassword: (
      args: {
        body: ResetPasswordRequest;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("POST", "/api/auth/reset-password", args, options),

    /** Undo a change of the email address. Takes the token from the link in the email to the old address. Restores that address, sets a new password and ends every session of the user. */
    undoEmailChange: (
      args: {
        body: UndoEmailChangeRequest;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("POST", "/api/auth/undo-email-change", args, options),

    /** Refresh a session. Returns a new access token and a new refresh token. A refresh token works once. A client that lost the response, or another tab of the browser, can repeat the request within 20 seconds and gets the same refresh token. Any later reuse ends the session. */
    refreshSession: (
      args: {
        body: RefreshRequest;
      },
      options?: CallOptions,
    ): Promise<TokenPair> => call("POST", "/api/auth/refresh", args, options),

    /** Sign out. Ends the session of a refresh token and revokes its access tokens. An unknown or expired refresh token is not an error. */
    logOut: (
      args: {
        body: RefreshRequest;
      },
      options?: CallOptions,
    ): Promise<MessageResponse> => call("POST", "/api/auth/logout", args, options),

    /** List your sessions. The devices on which the current user is signed in. */
    getSessions: (options?: CallOptions): Promise<SessionsResponse> => call("GET", "/api/auth/sessions", {}, options),

    /** End all other sessions. Signs the current user out everywhere except in the session of this request. */
    endOtherSessions: (options?: CallOptions): Promise<void> => call("DELETE", "/api/auth/sessions", {}, options),

    /** End a session. Signs the current user out on one device. Revokes the access tokens of that session. */
    endSession: (
      args: {
        id: string;
      },
      options?: CallOptions,
    ): Promise<void> => call("DELETE", "/api/auth/sessions/{id}", args, options),

    /** Get a profile. The public profile of a user. A former name redirects, until another user takes it. */
    getProfileByUsername: (
      args: {
        username: string;
      },
      options?: CallOptions,
    ): Promise<ProfileResponse> => call("GET", "/api/profiles/{username}", args, options),

    /** Follow a user. Has no effect if you already follow the user. You cannot follow yourself. */
    followUserByUsername: (
      args: {
        username: string;
      },
      options?: CallOptions,
    ): Promise<ProfileResponse> => call("POST", "/api/profiles/{username}/follow", args, options),

    /** Unfollow a user. Has no effect if you do not follow the user. */
    unfollowUserByUsername: (
      args: {
        username: string;
      },
      options?: CallOptions,
    ): Promise<ProfileResponse> => call("DELETE", "/api/profiles/{username}/follow", args, options),

    /** List articles. The newest articles first, or with `q` the best matches. Filters can be combined. `nextCursor` leads to the next page, however deep, at the same cost. */
    getArticles: (
      args?: {
        /** The number of articles to return. Values above 100 count as 100. */
        limit?: number | undefined;
        /** The number of articles to skip, after the cursor if there is one */
        offset?: number | undefined;
        /** Where the page begins: the `nextCursor` of the page before, with the same filters */
        cursor?: string | undefined;
        /** Return only articles with this tag */
        tag?: string | undefined;
        /** Return only articles by the user with this username */
        author?: string | undefined;
        /** Return only articles that the user with this username has favorited */
        favorited?: string | undefined;
        /** Return only articles that match this search, the best match first: see `GET /search` */
        q?: string | undefined;
      },
      options?: CallOptions,
    ): Promise<ArticlesResponse> => call("GET", "/api/articles", args, options),

    /** Create an article. The server derives the `slug` from the title, and adds a suffix if another article already has that slug. */
    createArticle: (
      args: {
        body: NewArticleRequest;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("POST", "/api/articles", args, options),

    /** List your feed. Articles by the authors you follow, the newest first. `nextCursor` leads to the next page. */
    getArticlesFeed: (
      args?: {
        /** The number of articles to return. Values above 100 count as 100. */
        limit?: number | undefined;
        /** The number of articles to skip, after the cursor if there is one */
        offset?: number | undefined;
        /** Where the page begins: the `nextCursor` of the page before, with the same filters */
        cursor?: string | undefined;
      },
      options?: CallOptions,
    ): Promise<ArticlesResponse> => call("GET", "/api/articles/feed", args, options),

    /** Get an article. The full article, with its body. A former slug redirects to the current one, as long as the article exists. */
    getArticle: (
      args: {
        slug: string;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("GET", "/api/articles/{slug}", args, options),

    /** Update an article. Only the author can update an article. A new title changes the `slug` as well; the former one redirects. The version before becomes a revision. */
    updateArticle: (
      args: {
        slug: string;
        body: UpdateArticleRequest;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("PUT", "/api/articles/{slug}", args, options),

    /** Delete an article. Only the author can delete an article. Its comments and favorites are deleted with it. */
    deleteArticle: (
      args: {
        slug: string;
      },
      options?: CallOptions,
    ): Promise<void> => call("DELETE", "/api/articles/{slug}", args, options),

    /** Favorite an article. Has no effect if you have already favorited the article. */
    createArticleFavorite: (
      args: {
        slug: string;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("POST", "/api/articles/{slug}/favorite", args, options),

    /** Unfavorite an article. Has no effect if you have not favorited the article. */
    deleteArticleFavorite: (
      args: {
        slug: string;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("DELETE", "/api/articles/{slug}/favorite", args, options),

    /** List the revisions of an article. The versions that edits have replaced, the newest first. For everybody but the author, the article is not found. `nextCursor` leads to the next page. */
    getArticleRevisions: (
      args: {
        slug: string;
        /** The number of revisions to return. Values above 100 count as 100. */
        limit?: number | undefined;
        /** Where the page begins: the `nextCursor` of the page before, with the same filters */
        cursor?: string | undefined;
      },
      options?: CallOptions,
    ): Promise<RevisionsResponse> => call("GET", "/api/articles/{slug}/revisions", args, options),

    /** Get a revision. A former version of an article, with its body. For its author alone. */
    getArticleRevision: (
      args: {
        slug: string;
        number: number;
      },
      options?: CallOptions,
    ): Promise<RevisionResponse> => call("GET", "/api/articles/{slug}/revisions/{number}", args, options),

    /** Compare a revision. How a revision differs, by words, from another one (`to`) or from the article as it is now. Texts that differ too much are one part removed and one added. For the author alone. */
    getArticleRevisionDiff: (
      args: {
        slug: string;
        number: number;
        /** The number of the other revision. By default, the article as it is now. */
        to?: number | undefined;
      },
      options?: CallOptions,
    ): Promise<DiffResponse> => call("GET", "/api/articles/{slug}/revisions/{number}/diff", args, options),

    /** Restore a revision. Edits the article to be as it was in a revision. The version that this replaces becomes a revision, too. For the author alone. */
    restoreArticleRevision: (
      args: {
        slug: string;
        number: number;
      },
      options?: CallOptions,
    ): Promise<ArticleResponse> => call("POST", "/api/articles/{slug}/revisions/{number}/restore", args, options),

    /** Search articles. The best matches first: words in the title count more than tags, the description and the body, in this order. An article is found within a second of its publication. If nothing matches, known words that are similar are searched for: `correctedQuery`. */
    searchArticles: (
      args: {
        /** The number of articles to return. Values above 100 count as 100. */
        limit?: number | undefined;
        /** The number of articles to skip, after the cursor if there is one */
        offset?: number | undefined;
        /** Where the page begins: the `nextCursor` of the page before, with the same filters */
        cursor?: string | undefined;
        /** Return only articles with this tag */
        tag?: string | undefined;
        /** Return only articles by the user with this username */
        author?: string | undefined;
        /** Return only articles that the user with this username has favorited */
        favorited?: string | undefined;
        /** What to search for, at most 200 characters: all words, `"a phrase"`, `-excluded`, `one or another`. At most 8 terms count. */
        q: string;
      },
      options?: CallOptions,
    ): Promise<SearchResponse> => call("GET", "/api/search", args, options),

    /** Suggest what to search for. For a search field, while the reader types: titles with these words, of which the last may be incomplete (from 2 characters on), tags and usernames that begin so. Similar usernames, if none begins so. */
    getSuggestions: (
      args: {
        /** What the reader has typed so far */
        q: string;
        /** The number of suggestions of each kind. Values above 10 count as 10. */
        limit?: number | undefined;
      },
      options?: CallOptions,
    ): Promise<SuggestionsResponse> => call("GET", "/api/search/suggestions", args, options),

    /** List the comments on an article. The newest comments first, at most 100 per page, and at most 1 MiB of text. `nextCursor` leads to the next page. */
    getArticleComments: (
      args: {
        slug: string;
        /** The number of comments to return. Values above 100 count as 100. */
        limit?: number | undefined;
        /** Where the page begins: the `nextCursor` of the page before, with the same filters */
        cursor?: string | undefined;
      },
      options?: CallOptions,
    ): Promise<CommentsResponse> => call("GET", "/api/articles/{slug}/comments", args, options),

    /** Comment on an article. The server stores the body as plain text. Clients decide how to display it. */
    createArticleComment: (
      args: {
        slug: string;
        body: NewCommentRequest;
      },
      options?: CallOptions,
    ): Promise<CommentResponse> => call("POST", "/api/articles/{slug}/comments", args, options),

    /** Delete a comment. The author of a comment can delete it, and so can the author of the article. */
    deleteArticleComment: (
      args: {
        slug: string;
        id: number;
      },
      options?: CallOptions,
    ): Promise<void> => call("DELETE", "/api/articles/{slug}/comments/{id}", args, options),

    /** List tags. The tags that articles use, the most used first. Without `q`, these are at most the 900 most used and the 100 most recently used. */
    getTags: (
      args?: {
        /** Return only tags that begin with this, written as it is */
        q?: string | undefined;
        /** The number of tags to return. Values above 1,000 count as 1,000. */
        limit?: number | undefined;
      },
      options?: CallOptions,
    ): Promise<TagsResponse> => call("GET", "/api/tags", args, options),
  };
}
