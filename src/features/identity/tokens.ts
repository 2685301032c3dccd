import { createSigner, createVerifier, TokenError } from "fast-jwt";
import { createRecent } from "./recent.ts";

/** What a valid access token says. */
export type TokenClaims = {
  /** The user's id, a decimal number as text: ids are 64 bits wide. */
  readonly sub: string;
  /** The session it was issued to. */
  readonly sid: string;
  /** Unique to the token (RFC 7519, 4.1.7). */
  readonly jti: string;
  /** Seconds since 1970. */
  readonly iat: number;
  readonly exp: number;
};

/** What is wrong with a token, as the rest of a sentence. */
export class TokenFault extends Error {
  override name = "TokenFault";
}

export type Tokens = {
  /** A new access token for a session of a user. */
  issue(userId: string, sessionId: string): string;
  /** The claims of a token that we issued and that is still good. Throws `TokenFault` otherwise. */
  verify(token: string): TokenClaims;
};

/** How many good tokens are remembered: each is checked at every request of its reader. */
const KNOWN_MAX = 5_000;

/**
 * Access tokens: JWT, HS256 alone (RFC 8725, 3.1: the algorithm is ours to say, not the token's).
 * @param ttlS lifetime in seconds
 */
export function createTokens(secret: string, ttlS: number): Tokens {
  const sign = createSigner({ key: secret, algorithm: "HS256", expiresIn: ttlS * 1000 });
  const check = createVerifier({
    key: secret,
    algorithms: ["HS256"],
    requiredClaims: ["sub", "sid", "iat", "exp", "jti"],
  });
  // Not the verifier's own cache, which hashes each token to look it up: 2 µs known and 10 new, against 0.1 and 6.
  const known = createRecent<TokenClaims>(KNOWN_MAX);

  return {
    issue: (userId, sessionId) => sign({ sub: userId, sid: sessionId, jti: crypto.randomUUID() }),
    verify(token) {
      const seen = known.get(token);
      if (seen !== undefined && Date.now() < seen.exp * 1000) return seen;
      try {
        const claims: TokenClaims = check(token);
        // 18 digits: all of them fit into 64 bits.
        const isOurs =
          typeof claims.sub === "string" &&
          /^[1-9][0-9]{0,17}$/.test(claims.sub) &&
          typeof claims.sid === "string" &&
          /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(claims.sid);
        if (!isOurs) throw new TokenFault("is malformed");
        // A copy: a part of a text keeps the whole text, here the header that it came in, for as long as itself.
        known.set(Buffer.from(token).toString("latin1"), claims);
        return claims;
      } catch (error) {
        throw new TokenFault(describe(error), { cause: error });
      }
    },
  };
}

function describe(error: unknown): string {
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
