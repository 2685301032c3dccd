import { type Context, Hono, type MiddlewareHandler, type Next } from "hono";
import { getPathNoStrict } from "hono/utils/url";
import { migrations } from "../../migrations/index.ts";
import type { Database } from "../db/pool.ts";
import { revisionRoutes } from "../features/articles/revisions/routes.ts";
import { articleRoutes } from "../features/articles/routes.ts";
import { searchRoutes } from "../features/articles/search/routes.ts";
import { commentRoutes } from "../features/comments/routes.ts";
import { healthRoutes } from "../features/health/routes.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import { emailUndoRoutes } from "../features/identity/email-undo/routes.ts";
import { emailVerificationRoutes } from "../features/identity/email-verification/routes.ts";
import { createGuards } from "../features/identity/guards.ts";
import { passwordResetRoutes } from "../features/identity/password-reset/routes.ts";
import { createRateLimits } from "../features/identity/rate-limits.ts";
import type { SessionLimits } from "../features/identity/sessions/queries.ts";
import type { Revocations } from "../features/identity/sessions/revocations.ts";
import { sessionRoutes } from "../features/identity/sessions/routes.ts";
import { createSuccessors } from "../features/identity/sessions/rules.ts";
import { createTokens } from "../features/identity/tokens.ts";
import { passwordRule } from "../features/identity/users/new-passwords.ts";
import { userRoutes } from "../features/identity/users/routes.ts";
import { createWriteLimits, type WriteRates } from "../features/identity/write-limits.ts";
import { profileRoutes } from "../features/profiles/routes.ts";
import { createSharedReads } from "../features/profiles/shared-reads.ts";
import { tagRoutes } from "../features/tags/routes.ts";
import { type ClientAddress, clientAddress } from "../http/client-address.ts";
import { validHost } from "../http/connection.ts";
import { ApiError } from "../http/errors.ts";
import type { AppEnv } from "../http/exchange.ts";
import { crossOrigin, sharedHeaders } from "../http/headers.ts";
import { Moved, respondMoved } from "../http/moved.ts";
import type { Route } from "../http/openapi.ts";
import { observeRequests, routeOf } from "../http/request-log.ts";
import { enterRoutes, respond } from "../http/responses.ts";
import { OneHandlerRouter } from "../http/router.ts";
import { storablePath } from "../http/validation.ts";
import { type Mailbox, mailboxKey } from "../mail/mailbox.ts";
import type { Mail } from "../mail/queue.ts";
import type { Memory } from "../memory/memory.ts";
import type { Log } from "../observability/log.ts";
import type { RequestObserver, RequestTracer } from "../observability/observers.ts";
import { accountPageRoutes } from "../web/account-routes.ts";
import type { WebContext } from "../web/app.ts";
import { serveAssets } from "../web/assets.ts";
import { serveAvatar } from "../web/avatars.ts";
import { createBrowserSessions } from "../web/browser-session.ts";
import { docsRoutes } from "../web/docs/routes.ts";
import { mailboxRoutes } from "../web/mailbox-routes.ts";
import type { Rendered } from "../web/page.ts";
import { errorPageFor, webRoutes } from "../web/routes.ts";

export type AppOptions = {
  db: Database;
  memory: Memory;
  log: Log;
  jwtSecret: string;
  sessionLimits: SessionLimits;
  revocations: Revocations;
  trustedProxies: string[];
  mail: Mail;
  /** Whether to serve the app for browsers, or the API alone. True by default. */
  web?: boolean;
  /** The development mailbox; null if mail is sent, and in production. */
  mailbox: Mailbox | null;
  requireEmailConfirmation: boolean;
  requireCurrentPassword: boolean;
  /** Passwords that are too common; null for none. */
  passwordBlocklist: ReadonlySet<string> | null;
  /** Replaces the default limits; null turns them off. */
  rateLimits?: Parameters<typeof createRateLimits>[2];
  /** How much an account and a network may write; null, the default, for no limits. */
  writeRates?: WriteRates | null;
  /** How addresses of deleted articles respond: 404 by default. */
  deletedArticles?: 404 | 410;
  corsOrigins: "*" | string[];
  /** `BASE_URL` */
  baseUrl?: string | undefined;
  /** How long an idle connection stays open, for a header. */
  keepAliveTimeoutMs?: number;
  /** Whether the server is shutting down. */
  isDraining?: () => boolean;
  observer?: RequestObserver | undefined;
  tracer?: RequestTracer | undefined;
};

/** The whole HTTP application. It has no side effects: it opens no connection and no port. */
export function createApp(options: AppOptions) {
  const { db, memory, log, jwtSecret, sessionLimits, revocations, corsOrigins } = options;
  const { keepAliveTimeoutMs = 75_000, isDraining = () => false, observer, tracer } = options;
  const tokens = createTokens(jwtSecret, sessionLimits.accessTokenTtlS);
  const guards = createGuards(tokens, revocations.isRevoked);
  const addressOf: ClientAddress = (c) => c.env.clientAddress;
  const writeLimits = createWriteLimits(db, addressOf, options.writeRates ?? null);
  const shared = createSharedReads(db, memory);
  const identity: IdentityContext = {
    tokens,
    successorOf: createSuccessors(jwtSecret),
    revocations,
    sessionLimits,
    addressOf,
    mail: options.mail,
    memory,
    limits: createRateLimits(db, addressOf, options.rateLimits),
    writeLimits,
    requireEmailConfirmation: options.requireEmailConfirmation,
    requireCurrentPassword: options.requireCurrentPassword,
    checkNewPassword: passwordRule(options.passwordBlocklist),
  };

  const hasMailbox = options.mailbox !== null;
  const sessions = createBrowserSessions(db, identity, options.baseUrl);
  const pages = memory.shelf<Rendered>("page");
  const isDeletionRemembered = options.deletedArticles === 410;
  const site = { baseUrl: options.baseUrl, hasMailbox, isDeletionRemembered };
  const web: WebContext | null =
    options.web === false ? null : { db, memory, identity, sessions, writeLimits, pages, ...site };

  const app = new Hono<AppEnv>({ getPath, router: new OneHandlerRouter() });
  app
    .use(enterRoutes)
    .use(crossOrigin(corsOrigins))
    .use(withBasePath(options.baseUrl))
    .use(validHost)
    .use(storablePath)
    .use(headLength)
    .use("/assets/*", serveAssets)
    .use("/avatars/:file", serveAvatar)
    .route("/", healthRoutes(db, { migrations, isDraining }));
  // Before the documentation, whose index is for programs.
  if (web !== null) app.route("/", webRoutes(web));
  app
    .route(
      "/",
      docsRoutes((): readonly Route[] => app.routes, { hasMailbox, hasWeb: web !== null }),
    )
    .route("/api", userRoutes(db, identity, guards))
    // Before the API, because a browser that opens one of the API's links gets a page.
    .route("/", accountPageRoutes(db, identity))
    .route("/api", emailVerificationRoutes(db, identity, guards))
    .route("/api", passwordResetRoutes(db, identity))
    .route("/api", emailUndoRoutes(db, identity))
    .route("/api", sessionRoutes(db, identity, guards))
    .route("/api", profileRoutes(db, memory, shared, guards, writeLimits))
    .route("/api", articleRoutes(db, memory, shared, guards, writeLimits, isDeletionRemembered))
    .route("/api", revisionRoutes(db, memory, guards, writeLimits))
    .route("/api", searchRoutes(db, guards))
    .route("/api", commentRoutes(db, memory, shared, guards, writeLimits))
    .route("/api", tagRoutes(db, shared));

  if (options.mailbox !== null) app.route("/", mailboxRoutes(options.mailbox, mailboxKey(jwtSecret)));

  const methodsOf = methodsByPath(app.routes);
  app.notFound(async (c) => {
    const methods = methodsOf(c.req.path);
    const error =
      methods.length > 0
        ? new ApiError("method_not_allowed", { method: ["is not allowed here"] }, { Allow: methods.join(", ") })
        : new ApiError("not_found", { path: ["not found"] });
    return respondWithError(c, error);
  });

  app.onError((error, c) => {
    const where = {
      "http.request.method": c.req.method,
      "http.route": routeOf(c),
      "request.id": c.env.requestId,
      trace_id: c.env.traceId,
    };
    if (error instanceof Moved) return respondMoved(c, error);
    if (error instanceof ApiError) {
      if (error.status >= 500) log.warn({ err: error, ...where }, "unavailable");
      return respondWithError(c, error);
    }
    // The client gets one fixed sentence, and the log the cause.
    log.error({ err: error, ...where }, "unexpected error");
    return respondWithError(c, new ApiError("internal", { server: ["had an unexpected error"] }));
  });

  function respondWithError(c: Context, error: ApiError): Response {
    return (web === null ? undefined : errorPageFor(c, web, error)) ?? errorResponse(c, error);
  }

  const findClient = clientAddress(options.trustedProxies);
  const headers = sharedHeaders(corsOrigins, keepAliveTimeoutMs);
  const fetch = observeRequests({ log, observer, tracer, findClient, isDraining, headers }, (request, exchange) =>
    app.fetch(request, exchange),
  );
  return { routes: app.routes, fetch };
}

/**
 * The path without a trailing slash. A request without a host, which HTTP/1.0 allows, has a URL of only path and query, in
 * which Hono would not find the path.
 */
function getPath(request: Request): string {
  return getPathNoStrict(request.url.startsWith("/") ? ({ url: `http://host${request.url}` } as Request) : request);
}

/** The proxy in front removes the path of `BASE_URL` from requests. Pages and the OpenAPI document have it in their links. */
function withBasePath(baseUrl: string | undefined): MiddlewareHandler {
  const path = baseUrl === undefined ? "/" : new URL(baseUrl).pathname;
  return function setBasePath(c, next) {
    if (path !== "/") c.set("basePath", path);
    return next();
  };
}

/** Gives the response to HEAD the Content-Length of GET. Hono runs the route of GET, and drops the body behind this. */
const headLength: MiddlewareHandler = function setHeadLength(c, next) {
  return c.req.method === "HEAD" ? withLength(c, next) : next();
};

async function withLength(c: Context, next: Next): Promise<void> {
  await next();
  if (c.res.body === null) return;
  const headers = new Headers(c.res.headers);
  headers.set("Content-Length", String((await c.res.arrayBuffer()).byteLength));
  const { status } = c.res;
  // Otherwise Hono adds the headers of the response before.
  c.res = undefined;
  c.res = new Response(null, { status, headers });
}

function errorResponse(c: Context, error: ApiError): Response {
  const body = error.body();
  return respond(c, body, error.status, {
    ...error.headers,
    "Content-Type": "application/json",
    // An error does not return through `headLength`.
    ...(c.req.method === "HEAD" ? { "Content-Length": String(Buffer.byteLength(body)) } : {}),
  });
}

/** The paths of a route, in which `:slug` stands for any segment and everything else for itself. */
function patternOf(path: string): RegExp {
  const segments = path.split("/").map((segment) => (segment.startsWith(":") ? "[^/]+" : RegExp.escape(segment)));
  return new RegExp(`^${segments.join("/")}$`);
}

/** Returns a function from a path to the methods of its routes, for the header `Allow` of a 405. */
function methodsByPath(routes: { method: string; path: string }[]): (path: string) => string[] {
  const patterns = new Map<string, { pattern: RegExp; methods: string[] }>();
  for (const { method, path } of routes) {
    if (method === "ALL") continue;
    const entry = patterns.get(path) ?? {
      // `getPath` has removed one trailing slash; with a second one, it is another path.
      pattern: patternOf(path),
      methods: [],
    };
    patterns.set(path, entry);
    if (!entry.methods.includes(method)) entry.methods.push(method);
    if (method === "GET" && !entry.methods.includes("HEAD")) entry.methods.push("HEAD");
  }
  return (path) => {
    const methods = new Set<string>();
    for (const entry of patterns.values()) {
      if (entry.pattern.test(path)) for (const method of entry.methods) methods.add(method);
    }
    return [...methods].sort();
  };
}
