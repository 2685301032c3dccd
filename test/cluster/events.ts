// What fails on the cluster, and how it is repaired.

import { cluster, onReplicas, REPLICAS, servers, serverUrl, startServer } from "./environment.ts";
import type { Writer } from "./load.ts";
import type { Event } from "./report.ts";
import { useWithoutPrimary } from "./without-primary.ts";

/** Nothing in memory, so that each read shows what a replica shows. */
export const WITHOUT_MEMORY = { ...REPLICAS, MEMORY_MAX: "0" };
/** The number of a server with memory. */
const REMEMBERING = 2;

/** The node that an event ends, which its `prepare` chooses. */
let node = "";

const choosePrimary = async () => {
  node = await cluster("primary");
};
const kill = () => cluster("kill-node", node).then(noResult);
const restart = () => cluster("start-node", node).then(noResult);
const noResult = (): void => {};

const ofPrimary = { movesPrimary: true, prepare: choosePrimary, readsMayFail: true };

const killed = (name: string): Event => ({ ...ofPrimary, name, run: kill, repair: restart });

const SWITCHOVER: Event = {
  ...ofPrimary,
  name: "switchover",
  run: () => cluster("switchover").then(noResult),
  repair: async () => {},
  readsMayFail: false,
};

const FROZEN: Event = {
  ...ofPrimary,
  name: "frozen primary",
  run: () => cluster("freeze-node", node).then(noResult),
  // It must not wake up: without a watchdog, the Patroni of Debian 12 then takes the lock from the new primary.
  repair: () => kill().then(restart),
};

/**
 * Of servers that connect to the nodes, without memory.
 * @param author of an article that nobody else writes, so that memory keeps it
 * @param report gets what is worse than promised
 */
export const eventsOf = (author: Writer, report: (problems: string[]) => void): Event[] => [
  {
    ...ofPrimary,
    name: "kill -9 of the primary",
    async prepare() {
      await startServer(REMEMBERING, { STALE_MAX: "60s" });
      await choosePrimary();
    },
    run: async () => report(await useWithoutPrimary(serverUrl(REMEMBERING), author, kill)),
    async repair() {
      servers[REMEMBERING]?.kill("SIGTERM");
      await restart();
    },
  },
  killed("kill -9 of the next primary"),
  SWITCHOVER,
  FROZEN,
  {
    name: "kill -9 of a server",
    movesPrimary: false,
    async run() {
      servers[1]?.kill("SIGKILL");
    },
    repair: () => startServer(1, WITHOUT_MEMORY),
    // Requests that the server had received.
    allowed: [0, 502],
    readsMayFail: true,
  },
  {
    name: "kill -9 of a replica",
    movesPrimary: false,
    async prepare() {
      node = await cluster("sync");
    },
    run: kill,
    repair: restart,
    readsMayFail: false,
  },
  {
    name: "replicas that do not follow",
    movesPrimary: false,
    run: () => onReplicas("select pg_wal_replay_pause()"),
    repair: () => onReplicas("select pg_wal_replay_resume()"),
    readsMayFail: false,
  },
];

/** Of servers that connect to a PgBouncer in front of each node. */
export const eventsBehindPoolers = (): Event[] => [
  killed("kill -9 of the primary"),
  {
    ...ofPrimary,
    name: "kill -9 of the primary and of its PgBouncer",
    run: () => cluster("kill-pooler", node).then(kill),
    repair: () => cluster("start-pooler", node).then(restart),
  },
  SWITCHOVER,
  FROZEN,
];
