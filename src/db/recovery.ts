import type { SQL } from "bun";

/** How often a new connection is tried, since an earlier attempt may never get a response. */
const ATTEMPT_INTERVAL_MS = 500;
/** The most attempts without a response at a time. */
const ATTEMPTS_MAX = 8;

/** The search for a database that responds, after connections to it hung. */
export type Recovery = {
  /** Whether it takes long. To replace one bad connection takes a moment, for which callers may wait. */
  isLong(now: number): boolean;
  /** Ends the search without a result. */
  stop(): void;
};

/**
 * Opens connections until one gets a response.
 * @param open makes a connection, which connects with its first statement
 * @param connectTimeoutMs how long an attempt may take
 * @param onResponse gets that connection, once
 */
export function startRecovery(open: () => SQL, connectTimeoutMs: number, onResponse: (sql: SQL) => void): Recovery {
  const since = performance.now();
  const attempts = new Set<SQL>();

  function attempt(): void {
    if (attempts.size >= ATTEMPTS_MAX) return;
    const sql = open();
    attempts.add(sql);
    const timer = setTimeout(() => discard(sql), connectTimeoutMs);
    sql.unsafe("select 1").then(
      () => {
        clearTimeout(timer);
        // Otherwise it was discarded meanwhile.
        if (!attempts.delete(sql)) return;
        stop();
        onResponse(sql);
      },
      () => {
        clearTimeout(timer);
        discard(sql);
      },
    );
  }

  function discard(sql: SQL): void {
    if (attempts.delete(sql)) void closeConnection(sql, 0);
  }

  function stop(): void {
    clearInterval(interval);
    for (const sql of attempts) discard(sql);
  }

  const interval = setInterval(attempt, ATTEMPT_INTERVAL_MS);
  interval.unref();
  attempt();
  return { isLong: (now) => now - since > ATTEMPT_INTERVAL_MS, stop };
}

/** Closes a connection of the driver when it is idle, after `timeoutMs` in any case. Never rejects; may never resolve. */
export function closeConnection(sql: SQL, timeoutMs: number): Promise<void> {
  return sql.close({ timeout: timeoutMs / 1000 }).catch(() => {});
}
