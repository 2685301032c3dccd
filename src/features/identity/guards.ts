import type { MiddlewareHandler } from "hono";
import { dependsOnToken } from "../../http/caching.ts";
import { unauthorized } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";
import { SESSION_ENDED } from "./current-session.ts";
import { InvalidToken, type TokenClaims, type Tokens } from "./tokens.ts";

/** Behind `requireUser`, a route has the current user. */
export type WithUser = { Variables: { userId: string; sessionId: string; token: string } };
/** Behind `optionalUser`, a route has the current user or null. */
export type WithViewer = { Variables: { viewerId: string | null; tokenError?: string } };

export type Guards = {
  requireUser: MiddlewareHandler<WithUser>;
  optionalUser: MiddlewareHandler<WithViewer>;
};

/** @param isRevoked whether a valid token was revoked; called for every request, so it must be answered from memory */
export function createGuards(tokens: Tokens, isRevoked: (token: TokenClaims) => boolean): Guards {
  function verify(token: string): TokenClaims {
    const claims = tokens.verify(token);
    if (isRevoked(claims)) throw new InvalidToken("has been revoked");
    return claims;
  }

  const guards: Guards = {
    requireUser(c, next) {
      dependsOnToken(c);
      const token = tokenOf(c.req.header("Authorization"));
      if (token === undefined) throw unauthorized("is missing");
      try {
        const { sub, sid } = verify(token);
        c.set("userId", sub);
        c.set("sessionId", sid);
      } catch (error) {
        if (error instanceof InvalidToken) throw unauthorized(error.message);
        throw error;
      }
      c.set("token", token);
      return next();
    },

    optionalUser(c, next) {
      dependsOnToken(c);
      const token = tokenOf(c.req.header("Authorization"));
      c.set("viewerId", null);
      if (token !== undefined) {
        try {
          c.set("viewerId", verify(token).sub);
        } catch (error) {
          if (!(error instanceof InvalidToken)) throw error;
          markBadToken(c, error.message);
        }
      }
      return next();
    },
  };
  describeGuard(guards.requireUser, { auth: "required", errors: ["unauthorized"] });
  describeGuard(guards.optionalUser, { auth: "optional" });
  return guards;
}

/**
 * Reports an invalid token on a route where the token is optional, in the log and in a header. The response is that for an
 * anonymous reader, not a 401: the official front end signs people out on any 401.
 */
export function markBadToken(
  c: { set(key: "tokenError", error: string): void; header(name: string, value: string): void },
  error: string = SESSION_ENDED,
): void {
  c.set("tokenError", error);
  c.header("WWW-Authenticate", 'Bearer error="invalid_token"');
}

/** The token of `Token x` or `Bearer x`; undefined without a header; empty if the header has another form. */
function tokenOf(authorization: string | undefined): string | undefined {
  if (!authorization) return undefined;
  return /^(?:token|bearer) +([^ ]+) *$/i.exec(authorization)?.[1] ?? "";
}
