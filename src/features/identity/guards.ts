import type { MiddlewareHandler } from "hono";
import { unauthorized } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";
import { type TokenClaims, TokenFault, type Tokens } from "./tokens.ts";

/** A route behind `requireUser` knows who asks. */
export type WithUser = { Variables: { userId: string; sessionId: string; token: string } };
/** A route behind `optionalUser` may know who asks; null stands for nobody. */
export type WithViewer = { Variables: { viewerId: string | null; tokenFault?: string } };

export type Guards = {
  requireUser: MiddlewareHandler<WithUser>;
  optionalUser: MiddlewareHandler<WithViewer>;
};

/** @param isRevoked whether a session was revoked; asked at every request, so it looks into memory alone */
export function createGuards(tokens: Tokens, isRevoked: (sessionId: string) => boolean): Guards {
  function verify(token: string): TokenClaims {
    const claims = tokens.verify(token);
    if (isRevoked(claims.sid)) throw new TokenFault("has been revoked");
    return claims;
  }

  const guards: Guards = {
    requireUser(c, next) {
      const token = tokenOf(c.req.header("Authorization"));
      if (token === undefined) throw unauthorized("is missing");
      try {
        const { sub, sid } = verify(token);
        c.set("userId", sub);
        c.set("sessionId", sid);
      } catch (error) {
        if (error instanceof TokenFault) throw unauthorized(error.message);
        throw error;
      }
      c.set("token", token);
      return next();
    },

    optionalUser(c, next) {
      const token = tokenOf(c.req.header("Authorization"));
      c.set("viewerId", null);
      if (token !== undefined) {
        try {
          c.set("viewerId", verify(token).sub);
        } catch (error) {
          if (!(error instanceof TokenFault)) throw error;
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
 * Notes, where nobody needs to be signed in, that a token was sent and counted as none. Not a 401: the official front
 * end signs people out on any.
 */
export function markBadToken(
  c: { set(key: "tokenFault", fault: string): void; header(name: string, value: string): void },
  fault: string = USER_GONE,
): void {
  c.set("tokenFault", fault);
  c.header("WWW-Authenticate", 'Bearer error="invalid_token"');
}

/** What is wrong with a good token whose user does not exist any more. */
export const USER_GONE = "belongs to a user who is gone";

/** The token of `Token x` or `Bearer x`; undefined where none was sent; empty where the header is something else. */
function tokenOf(authorization: string | undefined): string | undefined {
  if (!authorization) return undefined;
  return /^(?:token|bearer) +([^ ]+) *$/i.exec(authorization)?.[1] ?? "";
}
