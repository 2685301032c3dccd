/**
 * A reason not to start or to stop, with what the user can do about it. `main.ts` prints the message without a stack
 * trace and exits with 1.
 */
export class StartupError extends Error {
  override name = "StartupError";
}
