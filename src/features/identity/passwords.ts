import type { MiddlewareHandler } from "hono";
import { createHashingQueue } from "./hashing-queue.ts";

/** argon2id with 19 MiB and 2 passes: the first choice of the OWASP Password Storage Cheat Sheet for small servers. */
const ARGON2ID = { algorithm: "argon2id", memoryCost: 19 * 1024, timeCost: 2 } as const;

/** NIST SP 800-63B, 5.1.1.2: one form of each character, so that a password typed on another keyboard is the same. */
function normalise(password: string): string {
  // Normalising takes quadratic time where marks pile up on one character: 6 s for 60,000 of them. No form of a password
  // that we took, of at most 1024 bytes, is spelled with more units than this.
  return password.length > 2_048 ? password : password.normalize("NFKC");
}

/**
 * The longest password that is tried, in UTF-16 units. No other spelling of one of 1,024 bytes is longer: U+FDFA stands
 * for 18 letters in its 3 bytes, and nothing for more. Without a bound, one request could hold everybody up for minutes,
 * as putting combining marks in order takes time with the square of their number.
 */
const SPELLING_LENGTH_MAX = 6 * 1024;

/** One for the process, as its cores are. */
const queue = createHashingQueue();

/** How many hashings are under way and how many wait, in this process. */
export const hashingState = (): ReturnType<typeof queue.state> => queue.state();

/** Guard before a limit: who is refused because too many wait has not tried a password. */
export const roomToHash: MiddlewareHandler = async function checkRoomToHash(_c, next) {
  queue.checkRoom();
  await next();
};

/** A hash in PHC string format. Takes some 35 ms, outside the event loop, and its turn. Throws 503 where too many wait. */
export function hashPassword(password: string): Promise<string> {
  return queue.run(() => Bun.password.hash(normalise(password), ARGON2ID));
}

/**
 * Whether a password is the one of a hash. Where there is no hash, because there is no such account, the same time is
 * spent on a hash that nothing matches, so that the answer's time does not tell who has an account. Throws 503 where
 * too many wait.
 */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  const tried = password.length > SPELLING_LENGTH_MAX ? undefined : hash;
  const typed = password.slice(0, SPELLING_LENGTH_MAX);
  const matches = await queue.run(() => Bun.password.verify(normalise(typed), tried ?? UNMATCHABLE));
  return matches && tried !== undefined;
}

/** Of a random password that nobody has kept, with the parameters above. */
const UNMATCHABLE =
  "$argon2id$v=19$m=19456,t=2,p=1$mZ1UiQNFAqozBJnhY7R6A2dWk6Yhz4/me1Zirv/uFLA$JwwIz8ke8kEB3/gg2sRCSC5J0DoM6oMC1DtiE7q/Fec";
