import { AGE_MAX_MS, type Memory } from "../memory/memory.ts";

/**
 * How the workers of a server tell each other what they have changed, by way of their supervisor. A response to a write is
 * sent when all workers have forgotten what it changed, so the next read sees the write, whichever worker handles it.
 *
 * A worker that hangs must not hold up the others. So a worker serves from memory by a lease, which the supervisor renews
 * while the worker confirms what it is told. Without confirmation the lease ends, and then nobody waits for that worker.
 */
export type FromMember =
  | { type: "changed"; number: number; topics: string[] }
  | { type: "forgot"; number: number }
  /** By the worker's clock. */
  | { type: "renew"; requestedAt: number };

export type ToMember =
  /** Everybody has forgotten what this worker reported under that number. */
  | { type: "told"; number: number }
  /** `topics` null is everything. */
  | { type: "forget"; number: number; topics: string[] | null }
  | { type: "renewed"; requestedAt: number };

/**
 * How long a lease lasts. The worker counts from its request, and the supervisor from its response, which is later: so it
 * has ended for the worker before the supervisor relies on that.
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

export function createExchange(): Exchange {
  type State = {
    send(message: ToMember): void;
    /** Reports that the worker has not confirmed, by their numbers, with when they were sent. */
    readonly unconfirmed: Map<number, { readonly sentAt: number; readonly confirm: () => void }>;
    renewedAt: number;
    /** Its lease has ended: it serves nothing from memory, and is told nothing. */
    isOut: boolean;
  };
  const members = new Set<State>();
  let lastNumber = 0;

  async function spread(from: State, topics: string[]): Promise<void> {
    await Promise.all(
      [...members].filter((member) => member !== from && !member.isOut).map((member) => tell(member, topics)),
    );
  }

  function tell(member: State, topics: string[] | null): Promise<void> {
    const number = ++lastNumber;
    const confirmation = Promise.withResolvers<void>();
    member.unconfirmed.set(number, { sentAt: performance.now(), confirm: confirmation.resolve });
    send(member, { type: "forget", number, topics });
    return confirmation.promise;
  }

  function send(member: State, message: ToMember): void {
    try {
      member.send(message);
    } catch {
      // It has just exited, and leaves.
    }
  }

  function renew(member: State, requestedAt: number): void {
    const [oldest] = member.unconfirmed.values();
    if (oldest !== undefined && performance.now() - oldest.sentAt > RENEW_INTERVAL_MS) return;
    if (member.isOut) {
      member.isOut = false;
      void tell(member, null);
    }
    member.renewedAt = performance.now();
    send(member, { type: "renewed", requestedAt });
  }

  function endLeases(): void {
    const now = performance.now();
    for (const member of members) {
      if (member.isOut || now - member.renewedAt <= LEASE_MS) continue;
      member.isOut = true;
      for (const { confirm } of member.unconfirmed.values()) confirm();
    }
  }

  const timer = setInterval(endLeases, RENEW_INTERVAL_MS);
  return {
    join(sendTo) {
      // It holds nothing before its first lease.
      const member: State = { send: sendTo, unconfirmed: new Map(), renewedAt: 0, isOut: true };
      members.add(member);
      return {
        receive(message) {
          if (message.type === "changed") {
            const { number, topics } = message;
            void spread(member, topics).then(() => send(member, { type: "told", number }));
          } else if (message.type === "forgot") {
            member.unconfirmed.get(message.number)?.confirm();
            member.unconfirmed.delete(message.number);
          } else renew(member, message.requestedAt);
        },
        leave() {
          members.delete(member);
          for (const { confirm } of member.unconfirmed.values()) confirm();
        },
      };
    },
    close: () => clearInterval(timer),
  };
}

/** The part of a worker. */
export type Siblings = {
  /** Tells the other workers what this one has changed. Resolves when all have forgotten it. */
  tell(topics: readonly string[]): Promise<void>;
  /** From now on, this memory serves while the worker has a lease, and forgets what others report. */
  govern(memory: Memory): void;
  receive(message: ToMember): void;
};

export function createSiblings(send: (message: FromMember) => void): Siblings {
  const waiting = new Map<number, () => void>();
  let lastNumber = 0;
  let memory: Memory | undefined;
  let inFlight: Promise<void> | undefined;
  /** What is reported together after the report in flight. */
  let next: { readonly topics: Set<string>; readonly told: Promise<void> } | undefined;

  function report(topics: Iterable<string>): Promise<void> {
    const number = ++lastNumber;
    const told = Promise.withResolvers<void>();
    waiting.set(number, told.resolve);
    send({ type: "changed", number, topics: [...topics] });
    // If the supervisor hangs: nobody serves what is older than this.
    inFlight = Promise.race([told.promise, Bun.sleep(AGE_MAX_MS)]).finally(() => {
      waiting.delete(number);
      inFlight = undefined;
    });
    return inFlight;
  }

  function reportNext(): Promise<void> | undefined {
    const topics = next?.topics;
    next = undefined;
    return topics && report(topics);
  }

  return {
    tell(topics) {
      if (inFlight === undefined) return report(topics);
      next ??= { topics: new Set(), told: inFlight.then(reportNext) };
      for (const topic of topics) next.topics.add(topic);
      return next.told;
    },
    govern(governed) {
      memory = governed;
      memory.serveUntil(0);
      const renew = () => send({ type: "renew", requestedAt: performance.now() });
      renew();
      setInterval(renew, RENEW_INTERVAL_MS).unref();
    },
    receive(message) {
      if (message.type === "told") waiting.get(message.number)?.();
      else if (message.type === "renewed") memory?.serveUntil(message.requestedAt + LEASE_MS);
      else {
        if (message.topics === null) memory?.forgetEverything();
        else memory?.forget(message.topics);
        send({ type: "forgot", number: message.number });
      }
    },
  };
}
