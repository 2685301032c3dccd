import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { routePath } from "hono/route";
import { accountPageRoutes } from "./accounts/page-routes.ts";
import { accountRoutes } from "./accounts/routes.ts";
import { articleRoutes } from "./articles/routes.ts";
import { createGuards } from "./auth/guards.ts";
import { createTokens } from "./auth/tokens.ts";
import { commentRoutes } from "./comments/routes.ts";
import { docsRoutes } from "./docs/routes.ts";
import { healthRoutes } from "./health/routes.ts";
import type { Mailbox } from "./mail/mailbox.ts";
import type { Outbox } from "./mail/outbox.ts";
import { mailboxRoutes } from "./mail/routes.ts";
import { clientAddress } from "./platform/client-address.ts";
import type { Database } from "./platform/database.ts";
import { ApiError } from "./platform/errors.ts";
import type { Log } from "./platform/log.ts";
import { profileRoutes } from "./profiles/routes.ts";
import type { SessionLimits } from "./sessions/queries.ts";
import type { Revocations } from "./sessions/revocations.ts";
import { type SessionContext, sessionRoutes } from "./sessions/routes.ts";
import { tagRoutes } from "./tags/routes.ts";
import { type UserContext, userRoutes } from "./users/routes.ts";

export type AppOptions = {
  db: Database;
  log: Log;
  jwtSecret: string;
  sessionLimits: SessionLimits;
  revocations: Revocations;
  trustedProxies: string[];
  outbox: Outbox;
  /** Where mail lands that is not sent; null where it is, or where nobody may read it. */
  mailbox: Mailbox | null;
  requireEmailConfirmation: boolean;
  corsOrigins: "*" | string[];
};

/** The whole HTTP application, without side effects: nothing is opened, nothing listens. */
export function createApp(options: AppOptions) {
  const { db, log, jwtSecret, sessionLimits, revocations, outbox, corsOrigins } = options;
  const tokens = createTokens(jwtSecret, sessionLimits.accessTokenTtlS);
  const guards = createGuards(tokens, revocations.has);
  const addressOf = clientAddress(options.trustedProxies);
  const sessions: SessionContext = { tokens, revocations, sessionLimits, addressOf, outbox };
  const users: UserContext = { sessions, confirmFirst: options.requireEmailConfirmation };

  const app: Hono = new Hono({ strict: false })
    .use(logRequests(log))
    .use(cors({ origin: corsOrigins, exposeHeaders: ["WWW-Authenticate", "Retry-After"], maxAge: 86_400 }))
    .route("/", healthRoutes(db))
    .route(
      "/",
      docsRoutes(() => app.routes),
    )
    .route("/api", userRoutes(db, users, guards))
    .route("/api", accountRoutes(db, sessions, guards))
    .route("/", accountPageRoutes(db, sessions))
    .route("/api", sessionRoutes(db, sessions, guards))
    .route("/api", profileRoutes(db, guards))
    .route("/api", articleRoutes(db, guards))
    .route("/api", commentRoutes(db, guards))
    .route("/api", tagRoutes(db));

  if (options.mailbox !== null) app.route("/", mailboxRoutes(options.mailbox, clientAddress([])));

  const methodsOf = methodsByPath(app.routes);
  app.notFound(async (c) => {
    const methods = methodsOf(c.req.path);
    const error =
      methods.length > 0
        ? new ApiError("method_not_allowed", { method: ["is not allowed here"] }, { Allow: methods.join(", ") })
        : new ApiError("not_found", { path: ["not found"] });
    return errorResponse(c, error);
  });

  app.onError((error, c) => {
    if (error instanceof ApiError) return errorResponse(c, error);
    // The client is told one fixed sentence; the cause is for the log alone.
    log.error({ err: error, "http.method": c.req.method, "http.path": c.req.path }, "unexpected error");
    return errorResponse(c, new ApiError("internal", { server: ["had an unexpected error"] }));
  });

  return app;
}

function logRequests(log: Log) {
  return async function logRequest(c: Context, next: () => Promise<void>): Promise<void> {
    const started = performance.now();
    await next();
    const fault: string | undefined = c.get("tokenFault");
    log.info(
      {
        "http.method": c.req.method,
        "http.route": routePath(c, -1),
        "http.status": c.res.status,
        duration_ms: Math.round((performance.now() - started) * 1000) / 1000,
        ...(fault === undefined ? {} : { "token.fault": fault }),
      },
      "request",
    );
  };
}

function errorResponse(c: Context, error: ApiError): Response {
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
  return c.body(error.body(), error.status, { "Content-Type": "application/json" });
}

/** The methods of the routes that a path matches, for the 405 of the methods that have none. */
function methodsByPath(routes: { method: string; path: string }[]): (path: string) => string[] {
  const patterns = new Map<string, { pattern: RegExp; methods: string[] }>();
  for (const { method, path } of routes) {
    if (method === "ALL") continue;
    const entry = patterns.get(path) ?? {
      pattern: new RegExp(`^${path.replace(/:[a-z]+/g, "[^/]+")}/?$`),
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
