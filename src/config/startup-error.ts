/**
 * A reason not to start (or to stop) that the person at the keyboard can act on.
 * `main.ts` prints the message, which says what to do, without a stack trace, and exits 1.
 */
export class StartupError extends Error {
  override name = "StartupError";
}
