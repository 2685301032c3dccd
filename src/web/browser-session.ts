import type { Context, MiddlewareHandler } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import type { Database } from "../db/pool.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import type { CurrentSession } from "../features/identity/current-session.ts";
import { logOut, type OpenedSession } from "../features/identity/sessions/queries.ts";
import { refreshByRequest, tokenPair } from "../features/identity/sessions/routes.ts";
import { InvalidToken } from "../features/identity/tokens.ts";
import { findUser, type UserRow } from "../features/identity/users/queries.ts";
import { ApiError } from "../http/errors.ts";
import { isSecure, redirectTo, refererPath } from "./requests.ts";

/** Behind `optionalViewer`, a page has its reader, or null. With a reader, it has their session too. */
export type WithViewer = { Variables: { viewer: UserRow | null } & CurrentSession };
/** Behind `requireViewer`, it has both. */
export type WithUser = { Variables: { viewer: UserRow } & CurrentSession };
/** Behind `requireSession`, it has the session, for queries that write. */
export type WithSession = { Variables: CurrentSession };

export type BrowserSessions = {
  /** For pages that everybody may read. */
  readonly optionalViewer: MiddlewareHandler<WithViewer>;
  /** For pages of the signed-in user. Leads others to the sign-in page, and from there back. */
  readonly requireViewer: MiddlewareHandler<WithUser>;
  /** The same for forms, whose queries check the session themselves. */
  readonly requireSession: MiddlewareHandler<WithSession>;
  /** Keeps a session in the browser. */
  open(c: Context, session: OpenedSession): void;
  /** Ends the session, and removes it from the browser. */
  end(c: Context): Promise<void>;
  /** Removes a session that has ended from the browser. */
  forget(c: Context): void;
};

const NAME = "conduit_session";
/** Between the access token and the refresh token; in neither. */
const SEPARATOR = "~";

/**
 * Sessions of browsers: the two tokens of a session in one cookie, which scripts cannot read and which requests of other sites
 * do not carry. Only pages accept it, and the API only tokens. An expired access token is exchanged on the way, with the rules
 * of `refreshSession`, and a session that was revoked anywhere ends with the next request.
 * @param baseUrl `BASE_URL`
 */
export function createBrowserSessions(db: Database, context: IdentityContext, baseUrl?: string): BrowserSessions {
  const { tokens, revocations, sessionLimits, limits } = context;
  const lifetimeS = Math.min(sessionLimits.refreshTokenTtlS, sessionLimits.sessionMaxAgeS);

  function cookieOptions(c: Context) {
    const path: string = c.get("basePath") ?? "/";
    return { httpOnly: true, sameSite: "Lax", secure: isSecure(c, baseUrl), path } as const;
  }

  /** With the prefix, browsers take the cookie over TLS only, and from no other host (RFC 6265bis, 4.1.3.2). */
  function cookieName(c: Context): string {
    const { secure, path } = cookieOptions(c);
    return secure && path === "/" ? `__Host-${NAME}` : NAME;
  }

  const tokensOf = (c: Context): string[] => (getCookie(c, cookieName(c)) ?? "").split(SEPARATOR);

  function open(c: Context, session: OpenedSession): void {
    const { access_token, refresh_token } = tokenPair(context, session);
    const value = `${access_token}${SEPARATOR}${refresh_token}`;
    setCookie(c, cookieName(c), value, { ...cookieOptions(c), maxAge: lifetimeS });
  }

  const forget = (c: Context): void => void deleteCookie(c, cookieName(c), cookieOptions(c));

  async function sessionOf(c: Context): Promise<CurrentSession | null> {
    c.header("Vary", "Cookie", { append: true });
    // Most readers have no cookie at all.
    if (c.req.raw.headers.get("Cookie") === null) return null;
    const [access, refresh] = tokensOf(c);
    if (!access || !refresh) return null;
    try {
      const claims = tokens.verify(access);
      if (!revocations.isRevoked(claims)) return { userId: claims.sub, sessionId: claims.sid };
    } catch (error) {
      if (!(error instanceof InvalidToken)) throw error;
      const session = await refreshed(c, refresh);
      if (session !== null) return session;
    }
    forget(c);
    return null;
  }

  async function refreshed(c: Context, refreshToken: string): Promise<CurrentSession | null> {
    await limits.count(c, "refresh");
    try {
      const session = await refreshByRequest(c, db, context, refreshToken);
      open(c, session);
      return session;
    } catch (error) {
      if (error instanceof ApiError && error.code === "unauthorized") return null;
      throw error;
    }
  }

  /** The reader; null for anonymous ones, and if the account was deleted. */
  async function findViewer(c: Context): Promise<UserRow | null> {
    const session = await sessionOf(c);
    if (session === null) return null;
    try {
      const viewer = await findUser(db, session.userId);
      setSession(c, session);
      return viewer;
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "unauthorized") throw error;
      forget(c);
      return null;
    }
  }

  function setSession(c: Context, { userId, sessionId }: CurrentSession): void {
    c.set("userId", userId);
    c.set("sessionId", sessionId);
  }

  return {
    open,
    forget,
    async end(c) {
      const [, refresh = ""] = tokensOf(c);
      revocations.add(await logOut(db, refresh));
      forget(c);
    },

    async optionalViewer(c, next) {
      c.set("viewer", await findViewer(c));
      return next();
    },

    async requireViewer(c, next) {
      const viewer = await findViewer(c);
      if (viewer === null) return toSignIn(c, c.req.method === "GET" ? c.req.url : refererPath(c));
      c.set("viewer", viewer);
      return next();
    },

    async requireSession(c, next) {
      const session = await sessionOf(c);
      // To the page with the form: a form has no address to come back to.
      if (session === null) return toSignIn(c, refererPath(c));
      setSession(c, session);
      return next();
    },
  };
}

/** Leads to the sign-in page, and from there back to a page of this server. */
export function toSignIn(c: Context, from: string | undefined): Response {
  const { pathname, search } = new URL(from ?? "/", "http://localhost");
  const back = pathname + search;
  return redirectTo(c, back === "/" ? "/login" : `/login?next=${encodeURIComponent(back)}`);
}
