import { AGE_MAX_MS, type Memory } from "../memory/memory.ts";

/**
 * How the workers of a server report to each other what they have changed, by way of their supervisor. The response to a
 * write is sent when all workers have forgotten what it changed, so the next read sees the write, whichever worker handles
 * it.
 *
 * A worker that hangs must not hold up the others. So each worker serves from memory by a lease, which the supervisor renews
 * as long as the worker acknowledges what it receives. Otherwise the lease ends, and then no write waits for that worker.
 */
export type FromMember =
  | { type: "changed"; number: number; topics: string[] }
  /** Acknowledges "forget". */
  | { type: "forgotten"; number: number }
  /** By the worker's clock. */
  | { type: "renew"; requestedAt: number };

export type ToMember =
  /** `topics` null is everything. */
  | { type: "forget"; number: number; topics: string[] | null }
  /** All others have forgotten what this worker reported as "changed". */
  | { type: "reported"; number: number }
  | { type: "renewed"; requestedAt: number };

/**
 * The worker counts from its request, and the supervisor from its response, which is later: so a lease has ended for the
 * worker before the supervisor relies on that.
 */
const LEASE_MS = 1_000;
const RENEW_INTERVAL_MS = 250;

/** The part of the supervisor. */
export type Exchange = {
  /** Adds a worker that has just been started. @param send may throw if the worker has exited */
  join(send: (message: ToMember) => void): Member;
  close(): void;
};

export type Member = {
  receive(message: FromMember): void;
  /** The worker has exited. */
  leave(): void;
};

type State = {
  readonly send: (message: ToMember) => void;
  /** Resolves when the worker has forgotten the topics, or serves nothing. */
  readonly forget: (topics: Iterable<string>) => Promise<void>;
  /** What the worker has not acknowledged, by number. */
  readonly pending: Map<number, { readonly sentAt: number; readonly resolve: () => void }>;
  renewedAt: number;
  /** Its lease has ended: it serves nothing from memory, and receives no reports. */
  isOut: boolean;
};

export function createExchange(): Exchange {
  const members = new Set<State>();
  let lastNumber = 0;

  async function reportToOthers(sender: State, topics: string[]): Promise<void> {
    const others = [...members].filter((member) => member !== sender && !member.isOut);
    await Promise.all(others.map((member) => member.forget(topics)));
  }

  function sendForget(member: State, topics: string[] | null): Promise<void> {
    if (member.isOut) return Promise.resolve();
    const number = ++lastNumber;
    const { promise, resolve } = Promise.withResolvers<void>();
    member.pending.set(number, { sentAt: performance.now(), resolve });
    send(member, { type: "forget", number, topics });
    return promise;
  }

  function renew(member: State, requestedAt: number): void {
    const [oldest] = member.pending.values();
    if (oldest !== undefined && performance.now() - oldest.sentAt > RENEW_INTERVAL_MS) return;
    const wasOut = member.isOut;
    member.isOut = false;
    if (wasOut) void sendForget(member, null);
    member.renewedAt = performance.now();
    send(member, { type: "renewed", requestedAt });
  }

  function endLeases(): void {
    const now = performance.now();
    for (const member of members) {
      if (member.isOut || now - member.renewedAt <= LEASE_MS) continue;
      member.isOut = true;
      resolveAll(member);
    }
  }

  const timer = setInterval(endLeases, RENEW_INTERVAL_MS);
  return {
    join(sendTo) {
      // It holds nothing before its first lease.
      const member: State = {
        send: sendTo,
        forget: together((topics) => sendForget(member, topics)),
        pending: new Map(),
        renewedAt: 0,
        isOut: true,
      };
      members.add(member);
      return {
        receive(message) {
          if (message.type === "changed") {
            const { number, topics } = message;
            void reportToOthers(member, topics).then(() => send(member, { type: "reported", number }));
          } else if (message.type === "forgotten") {
            member.pending.get(message.number)?.resolve();
            member.pending.delete(message.number);
          } else {
            renew(member, message.requestedAt);
          }
        },
        leave() {
          members.delete(member);
          resolveAll(member);
        },
      };
    },
    close: () => clearInterval(timer),
  };
}

function send(member: State, message: ToMember): void {
  try {
    member.send(message);
  } catch {
    // It has just exited, and leaves.
  }
}

function resolveAll({ pending }: State): void {
  for (const { resolve } of pending.values()) resolve();
}

/** A function that sends topics one call at a time: what it gets meanwhile goes together in the next call. */
function together(sendNow: (topics: string[]) => Promise<void>): (topics: Iterable<string>) => Promise<void> {
  let inFlight: Promise<void> | undefined;
  let next: { readonly topics: Set<string>; readonly sent: Promise<void> } | undefined;

  function start(topics: Iterable<string>): Promise<void> {
    inFlight = sendNow([...topics]).finally(() => {
      inFlight = undefined;
    });
    return inFlight;
  }

  function startNext(): Promise<void> {
    const topics = next?.topics ?? [];
    next = undefined;
    return start(topics);
  }

  return (topics) => {
    if (inFlight === undefined) return start(topics);
    next ??= { topics: new Set(), sent: inFlight.then(startNext) };
    for (const topic of topics) next.topics.add(topic);
    return next.sent;
  };
}

/** The part of a worker. */
export type OtherWorkers = {
  /** Reports what this worker has changed. Resolves when all others have forgotten it. */
  report(topics: readonly string[]): Promise<void>;
  /** From now on, this memory serves while the worker has a lease, and forgets what others report. */
  govern(memory: Memory): void;
  receive(message: ToMember): void;
};

export function createOtherWorkers(send: (message: FromMember) => void): OtherWorkers {
  const waiting = new Map<number, () => void>();
  let lastNumber = 0;
  let memory: Memory | undefined;

  async function report(topics: string[]): Promise<void> {
    const number = ++lastNumber;
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.set(number, resolve);
    // If the supervisor hangs: no worker serves what is older than this.
    const timer = setTimeout(resolve, AGE_MAX_MS);
    send({ type: "changed", number, topics });
    await promise;
    clearTimeout(timer);
    waiting.delete(number);
  }

  return {
    report: together(report),
    govern(governed) {
      memory = governed;
      memory.serveUntil(0);
      const renew = () => send({ type: "renew", requestedAt: performance.now() });
      renew();
      setInterval(renew, RENEW_INTERVAL_MS).unref();
    },
    receive(message) {
      if (message.type === "reported") waiting.get(message.number)?.();
      else if (message.type === "renewed") memory?.serveUntil(message.requestedAt + LEASE_MS);
      else {
        if (message.topics === null) memory?.forgetEverything();
        else memory?.forget(message.topics);
        send({ type: "forgotten", number: message.number });
      }
    },
  };
}
