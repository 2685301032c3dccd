import { messageOf } from "./errors.ts";
import { truncateLargeLog } from "./log.ts";
import { type Server, type ServerPlan, startServer } from "./server.ts";

/** Pauses before PostgreSQL is started again, by the number of failures in a row. */
const restartDelaysMs = [0, 250, 1_000, 3_000, 10_000, 30_000];
/** A server that ran this long does not count as failing at every start. */
const healthyAfterMs = 60_000;
const logCheckIntervalMs = 60_000;

/**
 * Starts the server again whenever it ends, until `stop()`.
 * @param first the running server
 * @returns a function that stops the server, is idempotent, and never rejects
 */
export function supervise(plan: ServerPlan, first: Server, onRestart: (message: string) => void): () => Promise<void> {
  const stopRequest = new AbortController();
  const logCheck = setInterval(() => truncateLargeLog(plan.folder), logCheckIntervalMs);
  logCheck.unref();
  const watching = watch(plan, first, onRestart, stopRequest.signal);
  return async () => {
    clearInterval(logCheck);
    stopRequest.abort();
    await watching;
  };
}

async function watch(
  plan: ServerPlan,
  first: Server,
  onRestart: (message: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let server: Server | undefined = first;
  let failures = 0;
  while (server !== undefined) {
    const startedAt = performance.now();
    const cause = await Promise.race([server.ended, aborted(signal)]);
    if (signal.aborted) return server.stop();
    if (performance.now() - startedAt > healthyAfterMs) failures = 0;
    onRestart(`PostgreSQL ended unexpectedly (${cause}); restarting it …`);
    const endedAt = performance.now();
    do {
      const delayMs = restartDelaysMs[Math.min(failures++, restartDelaysMs.length - 1)] ?? 0;
      await Promise.race([Bun.sleep(delayMs), aborted(signal)]);
      server = await restart(plan, onRestart, signal);
      if (signal.aborted) return server?.stop();
    } while (server === undefined);
    onRestart(`PostgreSQL is running again after ${((performance.now() - endedAt) / 1000).toFixed(1)} s.`);
  }
}

/** @returns undefined if the server did not start */
async function restart(
  plan: ServerPlan,
  onRestart: (message: string) => void,
  signal: AbortSignal,
): Promise<Server | undefined> {
  if (signal.aborted) return undefined;
  try {
    return await startServer(plan, onRestart, signal);
  } catch (error) {
    if (!signal.aborted) onRestart(`PostgreSQL could not be restarted and will be tried again: ${messageOf(error)}`);
    return undefined;
  }
}

function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("stopped");
    else signal.addEventListener("abort", () => resolve("stopped"), { once: true });
  });
}
