import type { SQL } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import type { Database } from "../../src/db/pool.ts";
import type { Memory } from "../../src/memory/memory.ts";

/** A server on a free port of the loopback interface, with real HTTP and a database of its own. */
export type TestServer = {
  readonly url: string;
  readonly address: DatabaseAddress;
  readonly db: Database;
  readonly memory: Memory;
  /** To inspect the database. After a statement, the next request finds nothing in memory. */
  readonly sql: SQL;
  /** Sends a request; `path` begins with `/`. Throws if the response is not as the OpenAPI document describes it. */
  request(method: string, path: string, options?: RequestOptions): Promise<TestResponse>;
  /** Registers a user with this name. */
  register(username: string): Promise<TestUser>;
  /** Publishes an article by this user. */
  publish(
    user: TestUser,
    article?: Partial<{ title: string; description: string; body: string; tagList: string[] }>,
  ): Promise<ArticleJson>;
  stop(): Promise<void>;
};

/** A registered user. `token` is an access token. */
export type TestUser = { username: string; email: string; password: string; token: string; refreshToken: string };

/** The optional parts of a request. An object as `body` is sent as JSON, a string as it is. */
export type RequestOptions = {
  token?: string | undefined;
  body?: unknown;
  headers?: Record<string, string>;
};

/** A response whose body has been read. `json` has the type of every possible body; tests check which one it is. */
export type TestResponse = { status: number; headers: Headers; text: string; json: AnyBody };

export type ProfileJson = { username: string; bio: string | null; image: string | null; following: boolean };
export type UserJson = {
  email: string;
  email_verified: boolean;
  token: string;
  username: string;
  bio: string | null;
  image: string | null;
};
export type ArticleJson = {
  slug: string;
  title: string;
  description: string;
  excerpt: string;
  wordCount: number;
  readingTime: number;
  body: string;
  tagList: string[];
  createdAt: string;
  publishedAt: string;
  updatedAt: string;
  favorited: boolean;
  favoritesCount: number;
  author: ProfileJson;
};
export type RevisionJson = {
  number: number;
  title: string;
  description: string;
  body: string;
  tagList: string[];
  createdAt: string;
  replacedAt: string;
};
export type DiffJson = {
  from: number;
  to: number | null;
} & Record<"title" | "description" | "body" | "tagList", { kind: "same" | "removed" | "added"; text: string }[]>;
export type CommentJson = { id: number; createdAt: string; updatedAt: string; body: string; author: ProfileJson };

export type SessionJson = {
  id: string;
  device: string;
  ip: string | null;
  created_at: string;
  last_used_at: string;
  current: boolean;
};

/** Every member that a body of the API can have. */
export type AnyBody = {
  user: UserJson;
  profile: ProfileJson;
  article: ArticleJson;
  articles: ArticleJson[];
  articlesCount: number;
  revision: RevisionJson;
  revisions: RevisionJson[];
  diff: DiffJson;
  comment: CommentJson;
  comments: CommentJson[];
  tags: string[];
  nextCursor: string | null;
  errors: Record<string, string[]>;
  status: string;
  message: string;
  database: string;
  access_token: string;
  refresh_token: string;
  sessions: SessionJson[];
};
