import { availableParallelism } from "node:os";
import { unavailable } from "../../http/errors.ts";
import { addressKeyOf, networkKeyOf } from "./networks.ts";

/** Who causes a password to be hashed. */
export type HashCaller = {
  /** Null if the server cannot know it: those callers share one place in the order. */
  readonly address: string | null;
  /**
   * Whether the caller has a part of the account: a session from the same network in the last 30 days, a valid token, or a
   * link from an email. Such callers have a reserve of places that strangers cannot take.
   */
  readonly isKnown: boolean;
};

/**
 * Bounds the hashing of passwords, each of which takes about 35 ms of a core. It uses one core less than there are, so that
 * a flood of logins leaves time for the rest of the server.
 *
 * Callers wait in two tiers, by network (IPv4 /24, IPv6 /48) and inside it by address. Networks take turns, and so do the
 * addresses of a network: who sends much waits behind who sends little. If there is no room, the newest waiter of whoever
 * has most gives way, and gets the 503 instead.
 */
export type HashingQueue = {
  /** Runs `hash` when a core is free and it is the caller's turn. Throws 503 with `Retry-After` if too many wait. */
  run<Result>(caller: HashCaller, hash: () => Promise<Result>): Promise<Result>;
  state(): { readonly running: number; readonly waiting: number };
  /** Throws the same 503 if `run` would. */
  checkRoom(caller: HashCaller): void;
};

export type HashingBounds = {
  /** How many hash at a time. */
  readonly runningMax: number;
  /** How many of one network may wait. 100 take about 4 s on one core. */
  readonly networkMax: number;
  /** How many may wait. */
  readonly waitingMax: number;
  /** How many more may wait if they are known. */
  readonly reserve: number;
};

export function hashingBounds(cores = availableParallelism()): HashingBounds {
  const runningMax = Math.max(1, cores - 1);
  return { runningMax, networkMax: 100 * runningMax, waitingMax: 200 * runningMax, reserve: 20 * runningMax };
}

type Waiter = { start: () => void; refuse: () => void };
/** The waiters of one network, by address. Addresses and networks are in the order of their next turn. */
type Network = { count: number; addresses: Map<string, Waiter[]> };

export function createHashingQueue(bounds = hashingBounds()): HashingQueue {
  const networks = new Map<string, Network>();
  let running = 0;
  let waiting = 0;

  function place({ address }: HashCaller): { network: string; address: string } {
    if (address === null) return { network: "unknown", address: "unknown" };
    return { network: networkKeyOf(address), address: addressKeyOf(address) };
  }

  /**
   * Whose newest waiter would give way to a new caller: "nobody" if there is room. Undefined if nobody has two more than
   * the caller has, so that the caller is refused.
   */
  function yielding(caller: HashCaller): { network: string; address: string } | "nobody" | undefined {
    const own = place(caller);
    const network = networks.get(own.network);
    if (network !== undefined && network.count >= bounds.networkMax) {
      const [address, waiters] = largest(network.addresses, (list) => list.length);
      const ownCount = network.addresses.get(own.address)?.length ?? 0;
      return waiters.length > ownCount + 1 ? { network: own.network, address } : undefined;
    }
    if (waiting < bounds.waitingMax) return "nobody";
    const [key, heaviest] = largest(networks, ({ count }) => count);
    if (heaviest.count > (network?.count ?? 0) + 1) {
      return { network: key, address: largest(heaviest.addresses, (list) => list.length)[0] };
    }
    return caller.isKnown && waiting < bounds.waitingMax + bounds.reserve ? "nobody" : undefined;
  }

  function remove(at: { network: string; address: string }, from: "first" | "last"): Waiter | undefined {
    const network = networks.get(at.network);
    const waiters = network?.addresses.get(at.address);
    const waiter = from === "first" ? waiters?.shift() : waiters?.pop();
    if (network === undefined || waiters === undefined || waiter === undefined) return undefined;
    waiting--;
    network.count--;
    if (waiters.length === 0) network.addresses.delete(at.address);
    if (network.count === 0) networks.delete(at.network);
    return waiter;
  }

  function wait(caller: HashCaller): Promise<void> {
    const outvoted = yielding(caller);
    if (outvoted === undefined) throw unavailable("signing in", 5);
    if (outvoted !== "nobody") remove(outvoted, "last")?.refuse();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const own = place(caller);
    const network = networks.get(own.network) ?? { count: 0, addresses: new Map() };
    networks.set(own.network, network);
    const waiters = network.addresses.get(own.address) ?? [];
    network.addresses.set(own.address, waiters);
    waiters.push({ start: resolve, refuse: () => reject(unavailable("signing in", 5)) });
    network.count++;
    waiting++;
    return promise;
  }

  /** The waiter whose turn it is. Its network, and its address in there, go to the end of the order. */
  function next(): Waiter | undefined {
    const [networkKey, network] = networks.entries().next().value ?? [];
    const [addressKey, waiters] = network?.addresses.entries().next().value ?? [];
    if (networkKey === undefined || network === undefined || addressKey === undefined || waiters === undefined) return;
    const waiter = remove({ network: networkKey, address: addressKey }, "first");
    if (network.addresses.delete(addressKey)) network.addresses.set(addressKey, waiters);
    if (networks.delete(networkKey)) networks.set(networkKey, network);
    return waiter;
  }

  return {
    state: () => ({ running, waiting }),
    checkRoom(caller) {
      if (running >= bounds.runningMax && yielding(caller) === undefined) throw unavailable("signing in", 5);
    },
    async run(caller, hash) {
      if (running >= bounds.runningMax) await wait(caller);
      else running++;
      try {
        return await hash();
      } finally {
        // The next waiter takes this place, so that a new caller cannot overtake it.
        const waiter = next();
        if (waiter === undefined) running--;
        else waiter.start();
      }
    },
  };
}

/** The entry with the largest size, of a map that is not empty. */
function largest<Value>(map: Map<string, Value>, sizeOf: (value: Value) => number): [string, Value] {
  return [...map].reduce((most, entry) => (sizeOf(entry[1]) > sizeOf(most[1]) ? entry : most));
}
