import { createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";

/** A refresh token, and the hashes of it that are stored, as hexadecimal text. */
export type RefreshToken = { readonly token: string; readonly familyHash: string; readonly hash: string };

/** A token has two parts: the family, which all refresh tokens of a session share, and a secret of its own. */
const FAMILY_BYTES = 16;
const SECRET_BYTES = 32;

/** The first refresh token of a new session: 128 random bits for the family and 256 for the secret. */
export function newRefreshToken(): RefreshToken {
  return refreshToken(randomBytes(FAMILY_BYTES + SECRET_BYTES));
}

/** A token that a client sent. */
export type SentToken = RefreshToken & { readonly family: Buffer };

/** The token that follows another one of the same session. */
export type SuccessorOf = (token: SentToken) => RefreshToken;

/**
 * Derives the successor of a token from it, so that everyone who repeats a token in the grace period gets the same one:
 * HMAC-SHA-256 (RFC 2104), whose output without the key is as good as random.
 * @param secret the server's; the key is derived from it, so that a signature reveals nothing about the key
 */
export function createSuccessors(secret: string): SuccessorOf {
  const key = Buffer.from(hkdfSync("sha256", secret, "", "conduit refresh tokens", SECRET_BYTES));
  return ({ token, family }) => refreshToken(Buffer.concat([family, createHmac("sha256", key).update(token).digest()]));
}

/** A token that a client sent, with its family; undefined if it does not have the form of one. */
export function readRefreshToken(sent: string): SentToken | undefined {
  // 48 bytes are 64 characters without padding, so each token has exactly one spelling.
  if (!/^[A-Za-z0-9_-]{64}$/.test(sent)) return undefined;
  const bytes = Buffer.from(sent, "base64url");
  return { ...refreshToken(bytes), family: bytes.subarray(0, FAMILY_BYTES) };
}

function refreshToken(bytes: Buffer): RefreshToken {
  return {
    token: bytes.toString("base64url"),
    familyHash: sha256(bytes.subarray(0, FAMILY_BYTES)),
    hash: sha256(bytes),
  };
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The first match counts: Edge and Opera also say "Chrome", and Chrome says "Safari". */
const PROGRAMS: [RegExp, string][] = [
  [/\bEdgA?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\b(?:Firefox|FxiOS)\//, "Firefox"],
  [/\b(?:Chrome|CriOS)\//, "Chrome"],
  [/\bSafari\//, "Safari"],
  [/^curl\//, "curl"],
];
const SYSTEMS: [RegExp, string][] = [
  [/\biPhone\b/, "iPhone"],
  [/\biPad\b/, "iPad"],
  [/\bAndroid\b/, "Android"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b|\bMacintosh\b/, "macOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bLinux\b/, "Linux"],
];

/** A device as a person would name it: "Firefox on Windows", or the first word of the user agent. */
export function deviceLabel(userAgent: string | undefined): string {
  if (userAgent === undefined || userAgent.trim() === "") return "Unknown device";
  const program = PROGRAMS.find(([pattern]) => pattern.test(userAgent))?.[1];
  const system = SYSTEMS.find(([pattern]) => pattern.test(userAgent))?.[1];
  if (program !== undefined && system !== undefined) return `${program} on ${system}`;
  const firstWord = userAgent
    .replace(/[^\x20-\x7e]/g, "")
    .trim()
    .split(/[ /(;]/)[0]
    ?.slice(0, 60);
  return program ?? (firstWord || "Unknown device");
}
