import { isRolledBack, isUnavailable } from "./errors.ts";
import { type NamedParameters, type Parameter, positionalOfBatch, type Statement } from "./statements.ts";

/** Runs statements that are registered with `batch`. */
export type Batches = {
  /** Runs a statement for one call, together with other calls. Returns the row of this call. Throws as `run`. */
  row<Row>(statement: Statement<Row>, parameters: NamedParameters): Promise<Row>;
};

type Call = {
  readonly parameters: NamedParameters;
  /** No two calls of a batch have the same; undefined where the statement has no key. */
  readonly key: string | undefined;
  /** In characters. */
  readonly size: number;
  readonly resolve: (row: unknown) => void;
  readonly reject: (error: unknown) => void;
};

/** The calls of one statement. */
type Queue = {
  readonly statement: Statement<unknown>;
  waiting: Call[];
  /** The batch for whose end the waiting calls wait. */
  current: readonly Call[] | undefined;
};

/** The most calls in a batch. With more of them, what they share is already a small part of the cost of each. */
const CALLS_MAX = 64;
/** The most characters in the parameters of a batch. A longer call has a batch of its own. */
const SIZE_MAX = 256 * 1024;
/** After this time a batch does not keep other calls waiting: it waits for a lock or for the disk. */
const SLOW_MS = 3;

/**
 * Most of what a small write costs is the same for one row and for many: messages, the start of a statement, triggers, the
 * commit and its flush (docs/decisions/0028-batches.md). So the calls that arrive while a statement runs gather, and run
 * together as the next one. A call that arrives while none runs starts at once: nothing waits for a timer.
 *
 * A batch is one transaction, but no call fails because of another. If the batch is rolled back, or waits too long for a
 * lock, each of its calls runs alone.
 *
 * @param run runs a statement; throws what it failed with
 * @param onRunAgain gets the error of a batch whose calls run alone
 * @param lockTimeoutMs how long a batch may wait for a lock of another transaction
 */
export function createBatches(
  run: (statement: Statement<unknown>, values: readonly Parameter[]) => Promise<unknown[]>,
  onRunAgain: (statement: Statement<unknown>, durationMs: number, error: unknown) => void,
  lockTimeoutMs: number,
): Batches {
  const queues = new Map<Statement<unknown>, Queue>();

  function queueOf(statement: Statement<unknown>): Queue {
    let queue = queues.get(statement);
    if (queue === undefined) {
      queue = { statement, waiting: [], current: undefined };
      queues.set(statement, queue);
    }
    return queue;
  }

  async function startNext(queue: Queue): Promise<void> {
    const calls = takeBatch(queue);
    if (calls.length === 0) return;
    queue.current = calls;
    const proceed = () => {
      if (queue.current !== calls) return;
      queue.current = undefined;
      startNext(queue);
    };
    const timer = setTimeout(proceed, SLOW_MS);
    await runTogether(queue.statement, calls);
    clearTimeout(timer);
    proceed();
  }

  async function runTogether(statement: Statement<unknown>, calls: readonly Call[]): Promise<void> {
    const started = performance.now();
    try {
      const rows = await rowsOf(statement, calls, lockTimeoutMs);
      for (const [i, call] of calls.entries()) call.resolve(rows[i]);
    } catch (error) {
      // Otherwise it is the call's own error, the database is overloaded or gone, or whether the batch took effect is unknown.
      const mayRunAgain = isRolledBack(error) || (calls.length > 1 && !isUnavailable(error));
      if (mayRunAgain) onRunAgain(statement, performance.now() - started, error);
      for (const call of calls) {
        if (mayRunAgain) runAlone(statement, call);
        else call.reject(error);
      }
    }
  }

  async function runAlone(statement: Statement<unknown>, call: Call): Promise<void> {
    try {
      call.resolve((await rowsOf(statement, [call], null))[0]);
    } catch (error) {
      call.reject(error);
    }
  }

  /** The rows of the calls, in the order of the calls. */
  async function rowsOf(
    statement: Statement<unknown>,
    calls: readonly Call[],
    waitMs: number | null,
  ): Promise<unknown[]> {
    const parameters = calls.map((call) => call.parameters);
    const rows = await run(statement, positionalOfBatch(statement, parameters, waitMs));
    const inOrder: unknown[] = [];
    for (const row of rows as { place: number }[]) inOrder[row.place - 1] = row;
    return inOrder;
  }

  return {
    row: (statement, parameters) =>
      new Promise((resolve, reject) => {
        const queue = queueOf(statement);
        const key = statement.batchKey?.map((name) => parameters[name]).join("\n") || undefined;
        const size = Object.values(parameters).reduce<number>((sum, value) => sum + String(value).length, 0);
        queue.waiting.push({ parameters, key, size, resolve: resolve as Call["resolve"], reject });
        if (queue.current === undefined) startNext(queue);
      }),
  };
}

/** Takes the first calls of a queue that may run together. */
function takeBatch(queue: Queue): Call[] {
  const taken: Call[] = [];
  const left: Call[] = [];
  const keys = new Set<string>();
  let size = 0;
  for (const call of queue.waiting) {
    const { key } = call;
    const fits = taken.length < CALLS_MAX && (size + call.size <= SIZE_MAX || taken.length === 0);
    if (!fits || (key !== undefined && keys.has(key))) {
      left.push(call);
      continue;
    }
    taken.push(call);
    size += call.size;
    if (key !== undefined) keys.add(key);
  }
  queue.waiting = left;
  return taken;
}
