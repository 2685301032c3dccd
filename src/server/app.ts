import { type Context, Hono } from "hono";
import { getPathNoStrict } from "hono/utils/url";
import { migrations } from "../../migrations/index.ts";
import type { Database } from "../db/pool.ts";
import { articleRoutes } from "../features/articles/routes.ts";
import { commentRoutes } from "../features/comments/routes.ts";
import { healthRoutes } from "../features/health/routes.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import { emailVerificationRoutes } from "../features/identity/email-verification/routes.ts";
import { createGuards } from "../features/identity/guards.ts";
import { passwordResetRoutes } from "../features/identity/password-reset/routes.ts";
import { createRateLimits } from "../features/identity/rate-limits.ts";
import type { SessionLimits } from "../features/identity/sessions/queries.ts";
import type { Revocations } from "../features/identity/sessions/revocations.ts";
import { sessionRoutes } from "../features/identity/sessions/routes.ts";
import { createTokens } from "../features/identity/tokens.ts";
import { userRoutes } from "../features/identity/users/routes.ts";
import { profileRoutes } from "../features/profiles/routes.ts";
import { tagRoutes } from "../features/tags/routes.ts";
import { clientAddress } from "../http/client-address.ts";
import { ApiError } from "../http/errors.ts";
import { answerHeaders } from "../http/headers.ts";
import type { Route } from "../http/openapi.ts";
import { observeRequests, type RequestVariables, routeOf } from "../http/request-log.ts";
import { storablePath } from "../http/validation.ts";
import { type Mailbox, mailboxKey } from "../mail/mailbox.ts";
import type { Mail } from "../mail/queue.ts";
import type { Log } from "../observability/log.ts";
import type { RequestObserver, RequestTracer } from "../observability/observers.ts";
import { accountPageRoutes } from "../web/account-routes.ts";
import { serveAssets } from "../web/assets.ts";
import { docsRoutes } from "../web/docs/routes.ts";
import { mailboxRoutes } from "../web/mailbox-routes.ts";

export type AppOptions = {
  db: Database;
  log: Log;
  jwtSecret: string;
  sessionLimits: SessionLimits;
  revocations: Revocations;
  trustedProxies: string[];
  mail: Mail;
  /** The development mailbox; null if mail is sent, and in production. */
  mailbox: Mailbox | null;
  requireEmailConfirmation: boolean;
  /** Replaces the default limits; null turns them off. */
  rateLimits?: Parameters<typeof createRateLimits>[2];
  corsOrigins: "*" | string[];
  /** Whether the server is shutting down. */
  isDraining?: () => boolean;
  observer?: RequestObserver | undefined;
  tracer?: RequestTracer | undefined;
};

/** The whole HTTP application. It has no side effects: it opens no connection and no port. */
export function createApp(options: AppOptions) {
  const { db, log, jwtSecret, sessionLimits, revocations, corsOrigins } = options;
  const { isDraining = () => false, observer, tracer } = options;
  const tokens = createTokens(jwtSecret, sessionLimits.accessTokenTtlS);
  const guards = createGuards(tokens, revocations.has);
  const addressOf = clientAddress(options.trustedProxies);
  const identity: IdentityContext = {
    tokens,
    revocations,
    sessionLimits,
    addressOf,
    mail: options.mail,
    limits: createRateLimits(db, addressOf, options.rateLimits),
    requireEmailConfirmation: options.requireEmailConfirmation,
  };

  const app = new Hono<{ Variables: RequestVariables }>({ getPath });
  app
    .use(observeRequests({ log, observer, tracer, addressOf, isDraining }))
    .use(answerHeaders(corsOrigins))
    .use(storablePath)
    .use("/assets/*", serveAssets)
    .route("/", healthRoutes(db, { migrations, isDraining }))
    .route(
      "/",
      docsRoutes((): readonly Route[] => app.routes, options.mailbox !== null),
    )
    .route("/api", userRoutes(db, identity, guards))
    // Before the API, because a browser that opens one of the API's links gets a page.
    .route("/", accountPageRoutes(db, identity))
    .route("/api", emailVerificationRoutes(db, identity, guards))
    .route("/api", passwordResetRoutes(db, identity))
    .route("/api", sessionRoutes(db, identity, guards))
    .route("/api", profileRoutes(db, guards))
    .route("/api", articleRoutes(db, guards))
    .route("/api", commentRoutes(db, guards))
    .route("/api", tagRoutes(db));

  if (options.mailbox !== null) app.route("/", mailboxRoutes(options.mailbox, mailboxKey(jwtSecret)));

  const methodsOf = methodsByPath(app.routes);
  app.notFound(async (c) => {
    const methods = methodsOf(c.req.path);
    const error =
      methods.length > 0
        ? new ApiError("method_not_allowed", { method: ["is not allowed here"] }, { Allow: methods.join(", ") })
        : new ApiError("not_found", { path: ["not found"] });
    return errorResponse(c, error);
  });

  app.onError((error, c: Context) => {
    const where = {
      "http.request.method": c.req.method,
      "http.route": routeOf(c),
      "request.id": c.get("requestId"),
      trace_id: c.get("traceId"),
    };
    if (error instanceof ApiError) {
      if (error.status >= 500) log.warn({ err: error, ...where }, "unavailable");
      return errorResponse(c, error);
    }
    // The client gets one fixed sentence, and the log the cause.
    log.error({ err: error, ...where }, "unexpected error");
    return errorResponse(c, new ApiError("internal", { server: ["had an unexpected error"] }));
  });

  return app;
}

/**
 * The path without a trailing slash. A request without a host, which HTTP/1.0 allows, has a URL of only path and query, in
 * which Hono would not find the path.
 */
function getPath(request: Request): string {
  return getPathNoStrict(request.url.startsWith("/") ? ({ url: `http://host${request.url}` } as Request) : request);
}

function errorResponse(c: Context, error: ApiError): Response {
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
  const body = error.body();
  c.set("bytes", Buffer.byteLength(body));
  return c.body(body, error.status, { "Content-Type": "application/json" });
}

/** Returns a function from a path to the methods of its routes, for the header `Allow` of a 405. */
function methodsByPath(routes: { method: string; path: string }[]): (path: string) => string[] {
  const patterns = new Map<string, { pattern: RegExp; methods: string[] }>();
  for (const { method, path } of routes) {
    if (method === "ALL") continue;
    const entry = patterns.get(path) ?? {
      // `getPath` has removed one trailing slash; with a second one, it is another path.
      pattern: new RegExp(`^${path.replace(/:[a-z]+/g, "[^/]+")}$`),
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
