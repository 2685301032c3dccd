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

const receiving = new WeakMap<Request, () => void>();

/** Sets the timer for the body of a request. While its response is produced, only the database's timeouts run. */
export function startTimer(request: Request, server: RequestTimers, receiveS: number): void {
  const { headers } = request;
  const hasBody = headers.has("content-length") || headers.has("transfer-encoding");
  server.timeout(request, hasBody ? receiveS : 0);
  if (hasBody) receiving.set(request, () => server.timeout(request, 0));
}

/** Stops the timer of a request whose body has arrived. */
export function bodyReceived(request: Request): void {
  receiving.get(request)?.();
}
