/** Longer than anything that a test waits for on a busy machine, and shorter than a test may take (scripts/test.ts). */
const TIMEOUT_MS = 50_000;

/**
 * Calls `find` until it returns something other than false and undefined, and resolves to that.
 * @param expected describes the state for which it waits. Part of the error if that never comes.
 */
export async function until<T>(
  find: () => T | Promise<T>,
  expected = (): string => String(find),
): Promise<Exclude<T, false | undefined>> {
  for (const deadline = performance.now() + TIMEOUT_MS; ; await Bun.sleep(10)) {
    const found = await find();
    if (found !== false && found !== undefined) return found as Exclude<T, false | undefined>;
    if (performance.now() > deadline) throw new Error(`This has not become true: ${expected()}`);
  }
}
