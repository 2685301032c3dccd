import { unavailable } from "./errors.ts";

/** What the large bodies of all requests in flight may have together, in bytes and per process. */
const TOTAL_MAX = 256 * 1024 * 1024;
/** What those of one user may have, who could otherwise use up what is for all. */
const USER_MAX = 32 * 1024 * 1024;

const sizes = new Map<string, number>();
let total = 0;

/**
 * Reserves memory for a body above the usual size, which stays there until its request ends. The limits of writes do not
 * bound that: they allow an account a hundred articles at once.
 * @param size in bytes
 * @returns a function that gives the memory back, to be called once
 * @throws ApiError "unavailable" if there is no room
 */
export function reserveMemory(userId: string, size: number): () => void {
  const ofUser = sizes.get(userId) ?? 0;
  if (ofUser + size > USER_MAX || total + size > TOTAL_MAX) throw unavailable("server", 1);
  add(userId, size);
  return () => add(userId, -size);
}

function add(userId: string, size: number): void {
  const ofUser = (sizes.get(userId) ?? 0) + size;
  if (ofUser === 0) sizes.delete(userId);
  else sizes.set(userId, ofUser);
  total += size;
}
