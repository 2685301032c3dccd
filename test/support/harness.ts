import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EmbeddedPostgres } from "@conduit/embedded-postgres";
import { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { loadConfig } from "../../src/config/settings.ts";
import type { PoolLimits } from "../../src/db/bounded-pool.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connectionOptions, type Database, openDatabase } from "../../src/db/pool.ts";
import { createRevocations } from "../../src/features/identity/sessions/revocations.ts";
import { createLinkTokens } from "../../src/mail/links.ts";
import { type AppOptions, createApp } from "../../src/server/app.ts";
import { startEmbedded } from "../../src/server/embedded.ts";
import { createResponseCheck, type ResponseCheck } from "./document.ts";

/** Signs the tokens of every test server, so that tests can make tokens of their own. */
export const JWT_SECRET = "the secret of the test servers, 32 bytes or more";

/** `admin` may create databases, `address` is what the program itself would use. */
export type TestPostgres = { address: DatabaseAddress; admin: DatabaseAddress; stop(): Promise<void> };

let postgres: Promise<TestPostgres> | undefined;
const databases: string[] = [];
let open: { file: string; close: () => Promise<void> }[] = [];

/** Closes something at the end: with the run, or when the next test file opens something, as connections are few. */
function closeAtEnd(close: () => Promise<void>): void {
  // Last opened, first closed: a database is removed after what is connected to it. In `bun test`, Bun.main is the
  // test file.
  open.unshift({ file: Bun.main, close });
}

async function closeWhere(toClose: (file: string) => boolean): Promise<void> {
  const closing = open.filter(({ file }) => toClose(file));
  open = open.filter(({ file }) => !toClose(file));
  for (const { close } of closing) await close();
}

/** The PostgreSQL of this run, with a migrated template database. Started by the first who asks. */
export function testPostgres(): Promise<TestPostgres> {
  postgres ??= startPostgres();
  return postgres;
}

async function startPostgres(): Promise<TestPostgres> {
  const started = process.env.TEST_DATABASE_URL ? external(process.env.TEST_DATABASE_URL) : await embedded();
  try {
    await run(started.admin, `drop database if exists ${TEMPLATE} with (force)`);
    await run(started.admin, `create database ${TEMPLATE} owner ${started.address.username}`);
    await migrate({ ...started.address, database: TEMPLATE }, migrations, 5_000);
  } catch (error) {
    await started.stop();
    throw error;
  }
  return started;
}

const TEMPLATE = `conduit_test_template_${process.pid}`;

function external(url: string): TestPostgres {
  const address = loadConfig({ DATABASE_URL: url }).databaseUrl;
  if (address === undefined) throw new Error("TEST_DATABASE_URL is empty");
  return {
    address,
    admin: address,
    async stop() {
      for (const database of [...databases, TEMPLATE])
        await run(address, `drop database if exists ${database} with (force)`);
    },
  };
}

async function embedded(): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), "conduit-test-"));
  // For a run that is broken off: PostgreSQL is told to stop by its own hook, and has some files to remove meanwhile.
  process.once("exit", () => rmSync(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));
  const server: EmbeddedPostgres = await startEmbedded(dataDir, () => {});
  return {
    address: server.address,
    admin: { ...server.address, username: "postgres" },
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Stops every server and the PostgreSQL of this run. */
export async function stopHarness(): Promise<void> {
  await closeWhere(() => true);
  // One that did not start has stopped itself.
  await (await postgres?.catch(() => undefined))?.stop();
  postgres = undefined;
}

/** A new database, migrated unless asked otherwise. Removed with the run: to drop one waits for a checkpoint. */
export async function testDatabase(options: { migrated: boolean } = { migrated: true }): Promise<DatabaseAddress> {
  const { address, admin } = await testPostgres();
  await closeWhere((file) => file !== Bun.main);
  const database = `conduit_test_${process.pid}_${databases.length}`;
  await run(
    admin,
    `create database ${database} owner ${address.username}${options.migrated ? ` template ${TEMPLATE}` : ""}`,
  );
  databases.push(database);
  return { ...address, database };
}

/** A connection for a test to look at the tables, or to break them. Closed with the run. */
export function connect(address: DatabaseAddress, max = 2): SQL {
  const sql = new SQL(connectionOptions(address, max, {}));
  closeAtEnd(() => sql.close({ timeout: 0 }));
  return sql;
}

async function run(address: DatabaseAddress, statement: string): Promise<void> {
  const sql = new SQL(connectionOptions(address, 1, {}));
  await sql.unsafe(statement).simple();
  await sql.close();
}

/** What a request may carry. A plain object as `body` is sent as JSON; a string as it is. */
export type RequestOptions = {
  token?: string | undefined;
  body?: unknown;
  headers?: Record<string, string>;
};

/** An answer, with its body read. `json` is whatever came, typed as if everything did: tests say what they expect. */
export type Answer = { status: number; headers: Headers; text: string; json: AnyBody };

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
  body: string;
  tagList: string[];
  createdAt: string;
  publishedAt: string;
  updatedAt: string;
  favorited: boolean;
  favoritesCount: number;
  author: ProfileJson;
};
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

/** A server on a free port of the loopback interface, over real HTTP, on a database of its own. */
export type TestServer = {
  readonly url: string;
  readonly address: DatabaseAddress;
  readonly db: Database;
  /** For looking behind the API. */
  readonly sql: SQL;
  /** A request; `path` begins with `/`. */
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>;
  /** Registers a user with this name, and answers with the token and all. */
  register(username: string): Promise<TestUser>;
  /** Publishes an article of this user, and answers with it. */
  publish(
    user: TestUser,
    article?: Partial<{ title: string; description: string; body: string; tagList: string[] }>,
  ): Promise<ArticleJson>;
  stop(): Promise<void>;
};

export type TestUser = { username: string; email: string; password: string; token: string; refreshToken: string };

/** The application, as the test servers serve it. */
export function testApp(db: Database, options: Partial<AppOptions> = {}): ReturnType<typeof createApp> {
  const config = loadConfig({});
  return createApp({
    db,
    log: SILENT,
    jwtSecret: JWT_SECRET,
    sessionLimits: config,
    revocations: createRevocations(),
    trustedProxies: config.trustedProxies,
    // Written, and sent where a test starts a worker (test/mail.ts).
    mail: { isEnabled: true, ...createLinkTokens(JWT_SECRET) },
    mailbox: null,
    requireEmailConfirmation: false,
    corsOrigins: config.corsOrigins,
    ...options,
  });
}

/** @param options what differs from the defaults; `address` for a second server on the same database */
export async function testServer(
  options: Partial<AppOptions> & { address?: DatabaseAddress; limits?: Partial<PoolLimits> } = {},
): Promise<TestServer> {
  const address = options.address ?? (await testDatabase());
  const config = loadConfig({});
  const db = openDatabase(address, {
    poolMax: 4,
    connectTimeoutMs: config.databaseConnectTimeoutMs,
    queueTimeoutMs: config.databaseQueueTimeoutMs,
    statementTimeoutMs: config.databaseStatementTimeoutMs,
    ...options.limits,
  });
  const app = testApp(db, options);
  responseCheck ??= createResponseCheck(app);
  const check = responseCheck;
  const http = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: app.fetch });
  const url = http.url.origin;
  const sql = connect(address);
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await http.stop(true);
    await Promise.all([db.close(1_000), sql.close({ timeout: 0 })]);
  };
  closeAtEnd(stop);

  const request: TestServer["request"] = async (method, path, { token, body, headers } = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(token === undefined ? {} : { Authorization: `Token ${token}` }),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      redirect: "manual",
    });
    const text = await response.text();
    check(method, path, { status: response.status, headers: response.headers, text });
    // HEAD has the type and no body.
    const isJson = text !== "" && response.headers.get("content-type")?.startsWith("application/json") === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    };
  };

  return {
    url,
    address,
    db,
    sql,
    request,
    async register(username) {
      const email = `${username.toLowerCase().replace(/[<>]/g, "")}@example.com`;
      const user = { username, email, password: "correct horse" };
      const answer = await request("POST", "/api/users", { body: { user } });
      if (answer.status !== 201) throw new Error(`could not register ${username}: ${answer.status} ${answer.text}`);
      return { ...user, token: answer.json.user.token, refreshToken: answer.json.refresh_token };
    },
    async publish(user, article = {}) {
      const answer = await request("POST", "/api/articles", {
        token: user.token,
        body: { article: { title: "A title", description: "A description", body: "A body", ...article } },
      });
      if (answer.status !== 201) throw new Error(`could not publish: ${answer.status} ${answer.text}`);
      return answer.json.article;
    },
    stop,
  };
}

/** Compares every response of every test with the document of the API. Compiled once per run. */
let responseCheck: ResponseCheck | undefined;

const nothing = (): void => {};
const SILENT = { debug: nothing, info: nothing, warn: nothing, error: nothing };
