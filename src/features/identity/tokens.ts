import { createSigner, createVerifier, TokenError } from "fast-jwt";
import { LRUCache } from "lru-cache";

/** The claims of a valid access token. */
export type TokenClaims = {
  /** The user's id, a decimal number as text: ids are 64 bits wide. */
  readonly sub: string;
  /** The session it was issued to. */
  readonly sid: string;
  /** Unique to the token (RFC 7519, 4.1.7). */
  readonly jti: string;
  /** This API (RFC 7519, 4.1.3), so that a token for another service with the same secret is not valid here. */
  readonly aud: typeof AUDIENCE;
  /** Seconds since 1970. */
  readonly iat: number;
  readonly exp: number;
};

/** A token is not valid. The message is the rest of a sentence: "has expired". */
export class InvalidToken extends Error {
  override name = "InvalidToken";
}

export type Tokens = {
  /** A new access token for a session of a user. @param ttlS lifetime in seconds, if other than usual */
  issue(userId: string, sessionId: string, ttlS?: number): string;
  /** The claims of a token that this server issued and that has not expired. Throws `InvalidToken`. */
  verify(token: string): TokenClaims;
};

/** How many verified tokens are cached: clients send the same one with every request. */
const VERIFIED_MAX = 10_000;

const AUDIENCE = "conduit-api";

/**
 * Access tokens: JWT with HS256 only (RFC 8725, 3.1: the server chooses the algorithm, not the token).
 * @param usualTtlS lifetime in seconds
 */
export function createTokens(secret: string, usualTtlS: number): Tokens {
  const sign = createSigner({ key: secret, algorithm: "HS256" });
  const check = createVerifier({
    key: secret,
    algorithms: ["HS256"],
    allowedAud: AUDIENCE,
    requiredClaims: ["sub", "sid", "iat", "exp", "jti", "aud"],
  });
  // fast-jwt has a cache too, but hashes the token with SHA-256 for each look-up, which takes 2 µs.
  const verified = new LRUCache<string, TokenClaims>({ max: VERIFIED_MAX });

  return {
    issue(userId, sessionId, ttlS = usualTtlS) {
      const iat = Math.floor(Date.now() / 1000);
      return sign({
        sub: userId,
        sid: sessionId,
        jti: crypto.randomUUID(),
        aud: AUDIENCE,
        iat,
        exp: iat + Math.ceil(ttlS),
      });
    },
    verify(token) {
      const cached = verified.get(token);
      if (cached !== undefined && Date.now() < cached.exp * 1000) return cached;
      const claims = checkClaims(token);
      // A copy, because a substring keeps its whole string in memory, here the request header.
      verified.set(Buffer.from(token).toString("latin1"), claims);
      return claims;
    },
  };

  function checkClaims(token: string): TokenClaims {
    let claims: TokenClaims;
    try {
      claims = check(token);
    } catch (cause) {
      throw new InvalidToken(problemOf(cause), { cause });
    }
    // 18 digits: all of them fit into 64 bits.
    const isOurs =
      // A list is also allowed by the standard. This server issues none.
      claims.aud === AUDIENCE &&
      typeof claims.sub === "string" &&
      /^[1-9][0-9]{0,17}$/.test(claims.sub) &&
      typeof claims.sid === "string" &&
      /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(claims.sid);
    if (!isOurs) throw new InvalidToken("is malformed");
    return claims;
  }
}

function problemOf(error: unknown): string {
  if (!(error instanceof TokenError)) return "is malformed";
  switch (error.code) {
    case TokenError.codes.expired:
      return "has expired";
    case TokenError.codes.invalidSignature:
    case TokenError.codes.invalidAlgorithm:
    case TokenError.codes.missingSignature:
      return "is invalid";
    default:
      return "is malformed";
  }
}
