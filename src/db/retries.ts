import { unavailable } from "../http/errors.ts";
import type { BoundedPool } from "./bounded-pool.ts";
import { isConnectionLost, isReadOnlyServer, isRolledBack, isUnavailable, wasNotSent } from "./errors.ts";

export type Retries = {
  readonly pool: Pick<BoundedPool, "recover">;
  readonly isRead: boolean;
  /** Whether to leave a server that is a standby. */
  readonly mustBePrimary: boolean;
  /** How long to repeat what was not executed. */
  readonly waitMs: number;
};

/**
 * Runs again what was not executed: the connection could not be established, the server turned out to be no primary, or
 * PostgreSQL rolled it back. A read also runs again when its connection closed meanwhile, as every connection does when the
 * server stops. A write does not, since it may have taken effect.
 */
export async function retried<Result>(
  { pool, isRead, mustBePrimary, waitMs }: Retries,
  run: () => Promise<Result>,
): Promise<Result> {
  const started = performance.now();
  let wasAtStandby = false;
  for (let attempt = 1, outages = 0; ; ) {
    try {
      return await run();
    } catch (error) {
      // At the second time, it is a primary that takes no writes, as its default_transaction_read_only is on.
      const isAtStandby = mustBePrimary && isReadOnlyServer(error) && !wasAtStandby;
      if (wasNotSent(error) || isAtStandby) {
        if (isAtStandby) wasAtStandby = true;
        // From now on, the pool lets statements wait until the primary is found.
        const failingMs = pool.recover();
        if (Math.max(failingMs, performance.now() - started) > waitMs) throw unavailable("database", 1, error);
        // If that refuses connections all the same, the next attempt is later.
        await Bun.sleep(Math.random() * 20 * outages++);
        continue;
      }
      const attemptsMax = isRolledBack(error) ? 5 : isRead && isConnectionLost(error) ? 3 : 1;
      if (attempt >= attemptsMax) throw isUnavailable(error) ? unavailable("database", 1, error) : error;
      await Bun.sleep(Math.random() * 20 * attempt++);
    }
  }
}
