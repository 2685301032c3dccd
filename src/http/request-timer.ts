/** The part of Bun's server that sets the timer of one request. */
export type RequestTimers = { timeout(request: Request, seconds: number): void };

/**
 * Bun has one timer per connection, and closes the connection without a response when it fires. It runs from the end of a
 * request's head to the last byte of its body, while the response is produced and sent, and until the next request. Bytes
 * do not restart it, a new request does. It counts in steps of 4 s, and may fire up to 4 s early.
 */
const STEP_S = 4;

/** The setting of the timer that fires after this time at the earliest, in seconds. */
export const timerSeconds = (ms: number): number => Math.ceil(ms / 1000) + STEP_S;

const receiving = new WeakMap<Request, { server: RequestTimers; receiveS: number }>();

/**
 * Stops the timer of a connection while its request is handled, where only the database's timeouts run. `bodyAwaited` starts
 * it again: not before, as a body that nobody reads must not cut the response.
 */
export function startTimer(request: Request, server: RequestTimers, receiveS: number): void {
  const { headers } = request;
  server.timeout(request, 0);
  if (headers.has("content-length") || headers.has("transfer-encoding")) receiving.set(request, { server, receiveS });
}

/** Starts the timer of a request whose body is read now. */
export function bodyAwaited(request: Request): void {
  const timer = receiving.get(request);
  timer?.server.timeout(request, timer.receiveS);
}

/** Stops the timer of a request whose body has arrived. */
export function bodyReceived(request: Request): void {
  receiving.get(request)?.server.timeout(request, 0);
}
