import { createHashingQueue, type HashCaller } from "./hashing-queue.ts";

/** argon2id with 19 MiB and 2 passes: the first choice of the OWASP Password Storage Cheat Sheet for small servers. */
const ARGON2ID = { algorithm: "argon2id", memoryCost: 19 * 1024, timeCost: 2 } as const;

/** NIST SP 800-63B, 5.1.1.2: one form of each character, so that a password is the same on every keyboard. */
export function normalise(password: string): string {
  // Normalising takes quadratic time when marks pile up on one character: 6 s for 60,000 of them. No form of an accepted
  // password, of at most 1,024 bytes, has more UTF-16 units than this.
  return password.length > 2_048 ? password : password.normalize("NFKC");
}

/**
 * The longest password that is compared, in UTF-16 units. No other spelling of one of 1,024 bytes is longer: U+FDFA stands
 * for 18 letters in its 3 bytes, and no character for more. Without a bound, one request could block the server for
 * minutes, because putting combining marks in order takes time with the square of their number.
 */
const SPELLING_LENGTH_MAX = 6 * 1024;

/** One for the process, as its cores are shared too. */
const queue = createHashingQueue();

/** How many passwords this process is hashing, and how many wait. */
export const hashingState = (): ReturnType<typeof queue.state> => queue.state();

/** Throws 503 if too many wait to hash a password for this caller: before a rate limit counts an attempt. */
export const checkHashingRoom = (caller: HashCaller): void => queue.checkRoom(caller);

/** A hash in PHC string format. Takes about 35 ms off the event loop. Throws 503 if too many wait. */
export function hashPassword(password: string, caller: HashCaller): Promise<string> {
  return queue.run(caller, () => Bun.password.hash(normalise(password), ARGON2ID));
}

/**
 * Whether a password matches a hash. Without a hash, because no user has the address, it compares with one that nothing
 * matches, so that the response time does not reveal which addresses have a user. Throws 503 if too many wait.
 */
export async function verifyPassword(password: string, hash: string | undefined, caller: HashCaller): Promise<boolean> {
  const tried = password.length > SPELLING_LENGTH_MAX ? undefined : hash;
  const typed = password.slice(0, SPELLING_LENGTH_MAX);
  const matches = await queue.run(caller, () => Bun.password.verify(normalise(typed), tried ?? UNMATCHABLE));
  return matches && tried !== undefined;
}

/** The hash of a random password that was not kept, with the parameters above. */
const UNMATCHABLE =
  "$argon2id$v=19$m=19456,t=2,p=1$mZ1UiQNFAqozBJnhY7R6A2dWk6Yhz4/me1Zirv/uFLA$JwwIz8ke8kEB3/gg2sRCSC5J0DoM6oMC1DtiE7q/Fec";
