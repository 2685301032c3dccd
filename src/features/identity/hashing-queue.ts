import { availableParallelism } from "node:os";
import { unavailable } from "../../http/errors.ts";
import { addressKeyOf, networkKeyOf } from "./networks.ts";

/** Who causes a password to be hashed. */
export type HashCaller = {
  /** Null if the server cannot know it: those callers share one place in the order. */
  readonly address: string | null;
  /**
   * Whether the caller has a part of the account: a session from the same network in the last 30 days, a valid token, or a
   * link from an email. Such callers wait apart from strangers, so no number of strangers keeps them out.
   */
  readonly isKnown: boolean;
};

/**
 * Bounds the hashing of passwords, each of which takes about 35 ms of a core. It uses one core less than there are, so that
 * a flood of logins leaves time for the rest of the server. Known callers and strangers wait in a queue each, which take
 * turns.
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
  /** How many of one network may wait in a queue. 100 take about 4 s on one core. */
  readonly networkMax: number;
  /** How many may wait in a queue. */
  readonly waitingMax: number;
};

export function hashingBounds(cores = availableParallelism()): HashingBounds {
  const runningMax = Math.max(1, cores - 1);
  return { runningMax, networkMax: 100 * runningMax, waitingMax: 200 * runningMax };
}

export function createHashingQueue(bounds = hashingBounds()): HashingQueue {
  const known = createFairQueue(bounds);
  const strangers = createFairQueue(bounds);
  const queueOf = ({ isKnown }: HashCaller) => (isKnown ? known : strangers);
  let [now, then] = [known, strangers];
  let running = 0;

  function wait(caller: HashCaller): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { start: resolve, refuse: () => reject(tooMany()) };
    if (!queueOf(caller).add(caller, waiter)) throw tooMany();
    return promise;
  }

  function next(): Waiter | undefined {
    [now, then] = [then, now];
    return then.next() ?? now.next();
  }

  return {
    state: () => ({ running, waiting: known.size() + strangers.size() }),
    checkRoom(caller) {
      if (running >= bounds.runningMax && !queueOf(caller).hasRoom(caller)) throw tooMany();
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

const tooMany = () => unavailable("signing in", 5);

type Waiter = { start: () => void; refuse: () => void };
/** The waiters of one network, by address. Addresses and networks are in the order of their next turn. */
type Network = { count: number; addresses: Map<string, Waiter[]> };
type Place = { network: string; address: string };

/**
 * A queue in two tiers, by network (IPv4 /24, IPv6 /48) and inside it by address. Networks take turns, and so do the
 * addresses of a network: who sends much waits behind who sends little. If there is no room, the newest waiter of whoever
 * has most gives way, and is refused instead.
 */
function createFairQueue({ networkMax, waitingMax }: HashingBounds) {
  const networks = new Map<string, Network>();
  let waiting = 0;

  /**
   * Whose newest waiter would give way to a new caller: "nobody" if there is room. Undefined if nobody has two more than
   * the caller has, so that the caller is refused.
   */
  function yielding(own: Place): Place | "nobody" | undefined {
    const network = networks.get(own.network);
    if (network !== undefined && network.count >= networkMax) {
      const [address, waiters] = largest(network.addresses, (list) => list.length);
      const ownCount = network.addresses.get(own.address)?.length ?? 0;
      return waiters.length > ownCount + 1 ? { network: own.network, address } : undefined;
    }
    if (waiting < waitingMax) return "nobody";
    const [key, heaviest] = largest(networks, ({ count }) => count);
    if (heaviest.count <= (network?.count ?? 0) + 1) return undefined;
    return { network: key, address: largest(heaviest.addresses, (list) => list.length)[0] };
  }

  function remove(at: Place, from: "first" | "last"): Waiter | undefined {
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

  return {
    size: () => waiting,
    hasRoom: (caller: HashCaller): boolean => yielding(placeOf(caller)) !== undefined,
    /** Returns false if there is no room. */
    add(caller: HashCaller, waiter: Waiter): boolean {
      const own = placeOf(caller);
      const outvoted = yielding(own);
      if (outvoted === undefined) return false;
      if (outvoted !== "nobody") remove(outvoted, "last")?.refuse();
      const network = networks.get(own.network) ?? { count: 0, addresses: new Map() };
      networks.set(own.network, network);
      const waiters = network.addresses.get(own.address) ?? [];
      network.addresses.set(own.address, waiters);
      waiters.push(waiter);
      network.count++;
      waiting++;
      return true;
    },
    /** The waiter whose turn it is. Its network, and its address in there, go to the end of the order. */
    next(): Waiter | undefined {
      const [networkKey, network] = networks.entries().next().value ?? [];
      const [addressKey, waiters] = network?.addresses.entries().next().value ?? [];
      if (networkKey === undefined || network === undefined || addressKey === undefined || waiters === undefined)
        return;
      const waiter = remove({ network: networkKey, address: addressKey }, "first");
      if (network.addresses.delete(addressKey)) network.addresses.set(addressKey, waiters);
      if (networks.delete(networkKey)) networks.set(networkKey, network);
      return waiter;
    },
  };
}

function placeOf({ address }: HashCaller): Place {
  if (address === null) return { network: "unknown", address: "unknown" };
  return { network: networkKeyOf(address), address: addressKeyOf(address) };
}

/** The entry with the largest size, of a map that is not empty. */
function largest<Value>(map: Map<string, Value>, sizeOf: (value: Value) => number): [string, Value] {
  return [...map].reduce((most, entry) => (sizeOf(entry[1]) > sizeOf(most[1]) ? entry : most));
}
