import { isConnectionLost, sqlState } from "./errors.ts";
import { type BatchStatement, batchValues, type NamedParameters } from "./statements.ts";

/** Runs one statement for the calls that arrive together. */
export type Batches = {
  /**
   * Runs a statement for one call, in a batch with others, and returns the row of this call.
   * @throws as `run`; never for what another call of the batch did
   */
  row(statement: BatchStatement<unknown>, parameters: NamedParameters): Promise<unknown>;
};

type Call = {
  readonly parameters: NamedParameters;
  readonly key: string | undefined;
  readonly size: number;
  readonly resolve: (row: unknown) => void;
  readonly reject: (error: unknown) => void;
};

/** The calls of one statement. */
type Queue = { waiting: Call[]; running: number; timer: Timer | undefined };

/** The most calls in a batch. More save little: the fixed cost of a statement is already divided by this. */
const CALLS_MAX = 64;
/** The most characters in the parameters of a batch of several calls. */
const SIZE_MAX = 256 * 1024;
/** A batch that takes longer does not keep the next one waiting: it waits for a lock, or is large. */
const SLOW_MS = 20;
/** How long a batch may wait for a lock that another transaction holds, before its calls run one by one. */
const LOCK_TIMEOUT_MS = 250;

/**
 * Most of what a small write costs is the same for one row and for fifty: the messages, the start of the statement, its
 * triggers, the commit and its flush. So a write that is registered with `batch` runs for several calls at once. While one
 * batch runs, further calls gather, and go together as the next one. A call that finds none running goes at once, alone: it
 * waits for no timer, and an idle server is as fast as without batches.
 *
 * A batch is one transaction. If an error rolls it back, each of its calls runs alone, and gets its own result or error.
 *
 * @param run runs a statement, and throws what it failed with
 */
export function createBatches(
  run: (statement: BatchStatement<unknown>, values: ReturnType<typeof batchValues>) => Promise<unknown[]>,
): Batches {
  const queues = new Map<BatchStatement<unknown>, Queue>();

  function queueOf(statement: BatchStatement<unknown>): Queue {
    let queue = queues.get(statement);
    if (queue === undefined) {
      queue = { waiting: [], running: 0, timer: undefined };
      queues.set(statement, queue);
    }
    return queue;
  }

  function startNext(statement: BatchStatement<unknown>, queue: Queue): void {
    clearTimeout(queue.timer);
    queue.timer = undefined;
    const calls = takeBatch(queue);
    if (calls.length === 0) return;
    queue.running++;
    queue.timer = setTimeout(() => startNext(statement, queue), SLOW_MS);
    runTogether(statement, calls).finally(() => {
      queue.running--;
      if (queue.running === 0) startNext(statement, queue);
    });
  }

  async function runTogether(statement: BatchStatement<unknown>, calls: readonly Call[]): Promise<void> {
    try {
      const rows = await runBatch(statement, calls, LOCK_TIMEOUT_MS);
      calls.forEach(({ resolve }, i) => resolve(rows[i]));
    } catch (error) {
      // Without a code, or if the connection was lost, it is unknown whether the batch took effect.
      const isRolledBack = sqlState(error) !== undefined && !isConnectionLost(error);
      for (const call of calls) {
        if (isRolledBack) runAlone(statement, call);
        else call.reject(error);
      }
    }
  }

  async function runAlone(statement: BatchStatement<unknown>, call: Call): Promise<void> {
    try {
      call.resolve((await runBatch(statement, [call], null))[0]);
    } catch (error) {
      call.reject(error);
    }
  }

  /** The rows of the calls, in their order. */
  async function runBatch(
    statement: BatchStatement<unknown>,
    calls: readonly Call[],
    lockTimeoutMs: number | null,
  ): Promise<unknown[]> {
    const values = batchValues(
      statement,
      calls.map(({ parameters }) => parameters),
      lockTimeoutMs,
    );
    const rows = (await run(statement, values)) as { place: number }[];
    const inOrder = new Array<unknown>(calls.length);
    for (const row of rows) inOrder[row.place - 1] = row;
    return inOrder;
  }

  return {
    row(statement, parameters) {
      return new Promise((resolve, reject) => {
        const key = statement.batch.key?.map((name) => parameters[name]).join("\n");
        queueOf(statement).waiting.push({ parameters, key, size: sizeOf(parameters), resolve, reject });
        const queue = queueOf(statement);
        if (queue.running === 0) startNext(statement, queue);
      });
    },
  };
}

/** Takes what goes together from the front of a queue: within the bounds, and no two calls with the same key. */
function takeBatch(queue: Queue): Call[] {
  const taken: Call[] = [];
  const left: Call[] = [];
  const keys = new Set<string | undefined>();
  let size = 0;
  for (const call of queue.waiting) {
    const fits =
      taken.length < CALLS_MAX && (taken.length === 0 || size + call.size <= SIZE_MAX) && !keys.has(call.key);
    if (fits) {
      taken.push(call);
      if (call.key !== undefined) keys.add(call.key);
      size += call.size;
    } else left.push(call);
  }
  queue.waiting = left;
  return taken;
}

function sizeOf(parameters: NamedParameters): number {
  let size = 0;
  for (const name in parameters) {
    const value = parameters[name];
    size += typeof value === "string" ? value.length : 8;
  }
  return size;
}
