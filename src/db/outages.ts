import { type FollowedServer, MOMENT_MS } from "./followed-server.ts";

/** When the statements of a pool wait, because its server is away. Others fail at once where that has lasted too long. */
export type Outages = {
  isOn(): boolean;
  /** Whether it has lasted for longer than anybody waits. */
  isLong(now: number): boolean;
  /**
   * No statement is sent from now on, until a search has found a server.
   * @param mustReplace whether the connections are of no use any more, also if it is the same server
   * @returns for how many milliseconds no statement has succeeded, since the first of the outages that this one continues
   */
  begin(mustReplace: boolean): number;
  /** A statement has succeeded: the next outage is a new one. */
  succeeded(): void;
  /** From now on, nobody waits for the end of an outage. */
  stopWaiting(): void;
  /** The one that is on never ends. */
  stop(): void;
};

type Outage = {
  mustReplace: boolean;
  /** Whether the search has ended, but statements have not been sent yet. */
  isFound: boolean;
  /** Something was lost after that. */
  isLostAgain: boolean;
};

export type OutageOptions = {
  readonly server: FollowedServer;
  /** As in `PoolLimits`. */
  readonly limits: { readonly connectTimeoutMs: number; readonly failoverWaitMs?: number };
  /** The end waits at most a moment for this. */
  readonly whenFirstHasSent: () => Promise<void>;
  /** Called at the end of an outage, before statements are sent. */
  readonly replaceConnections: (hasMoved: boolean) => void;
  /** Called at the end of an outage. */
  readonly onEnd: () => void;
};

export function createOutages(options: OutageOptions): Outages {
  const { server, limits, whenFirstHasSent, replaceConnections, onEnd } = options;
  let waitMs = Math.max(limits.failoverWaitMs ?? 0, MOMENT_MS);
  let outage: Outage | undefined;
  /** When the first outage began after which no statement has succeeded, and when the last one ended. */
  let failingSince: number | undefined;
  let endedAt = Number.NEGATIVE_INFINITY;
  let replacedAt = Number.NEGATIVE_INFINITY;
  let isStopped = false;

  function begin(mustReplace: boolean): number {
    const now = performance.now();
    if (outage !== undefined) {
      outage.mustReplace ||= mustReplace;
      outage.isLostAgain = outage.isFound;
    } else if (!isStopped) {
      // An attempt to connect may have begun when the last outage ended.
      if (now - endedAt > limits.connectTimeoutMs + MOMENT_MS) failingSince = undefined;
      failingSince ??= now;
      outage = { mustReplace, isFound: false, isLostAgain: false };
      void endWhenFound(outage);
    }
    return now - (failingSince ?? now);
  }

  async function endWhenFound(current: Outage): Promise<void> {
    const before = server.server();
    const hasMoved = () => server.server() !== before;
    do {
      current.isFound = false;
      current.isLostAgain = false;
      await server.search();
      current.isFound = true;
      // A server that accepts connections and then refuses statements must not get new connections all the time.
      if (!hasMoved() && current.mustReplace) await Bun.sleep(replacedAt + MOMENT_MS - performance.now());
      await whenFirstHasSent();
    } while (current.isLostAgain);
    if (isStopped) return;
    if (hasMoved() || current.mustReplace) {
      replaceConnections(hasMoved());
      replacedAt = performance.now();
    }
    // Otherwise only a statement shows whether the server is of use: it may accept connections, and no statements.
    if (!current.mustReplace) failingSince = undefined;
    outage = undefined;
    endedAt = performance.now();
    onEnd();
  }

  return {
    isOn: () => outage !== undefined,
    isLong: (now) => outage !== undefined && failingSince !== undefined && now - failingSince > waitMs,
    begin,
    succeeded() {
      if (outage === undefined) failingSince = undefined;
    },
    stopWaiting() {
      waitMs = 0;
    },
    stop() {
      isStopped = true;
    },
  };
}
