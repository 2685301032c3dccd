/** How long one text may take, also on a machine that does much else. */
const DEADLINE_MS = 5_000;

type Job = {
  readonly input: unknown;
  readonly size: number;
  readonly finish: (output: unknown) => void;
};

export type WorkerQueue = {
  /**
   * What the worker makes of an input (worker.ts); null if it fails, takes too long, or has no room in the queue.
   * @param size of the input, by which the queue is sorted
   */
  run(input: unknown, size: number): Promise<unknown>;
  stop(): Promise<void>;
};

/**
 * Runs what may take long in a worker, one input at a time, so that nothing can block the process.
 * @param waitingMax how many inputs may wait
 * @param deadlineMs after this time an input is given up
 */
export function createWorkerQueue(waitingMax: number, deadlineMs = DEADLINE_MS): WorkerQueue {
  const waiting: Job[] = [];
  let worker: Promise<Worker> | undefined;
  let isBusy = false;

  /** The smallest comes first: what is quick does not wait for what is slow. If there is no room, the largest gives way. */
  function add(job: Job): void {
    waiting.push(job);
    waiting.sort((a, b) => a.size - b.size);
    if (waiting.length > waitingMax) waiting.pop()?.finish(null);
    void next();
  }

  async function next(): Promise<void> {
    const job = isBusy ? undefined : waiting.shift();
    if (job === undefined) return;
    isBusy = true;
    job.finish(await runInWorker(job.input));
    isBusy = false;
    void next();
  }

  async function runInWorker(input: unknown): Promise<unknown> {
    worker ??= openWorker();
    const current = await worker.catch(() => undefined);
    if (current === undefined) {
      worker = undefined;
      return null;
    }
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const giveUp = () => {
      current.terminate();
      worker = undefined;
      resolve(null);
    };
    const deadline = setTimeout(giveUp, deadlineMs);
    current.onmessage = ({ data }: MessageEvent) => resolve(data);
    current.onerror = giveUp;
    current.postMessage(input);
    return promise.finally(() => clearTimeout(deadline));
  }

  return {
    run: (input, size) => new Promise((finish) => add({ input, size, finish })),
    async stop() {
      (await worker?.catch(() => undefined))?.terminate();
      worker = undefined;
    },
  };
}

/** Set by scripts/build.ts in the compiled executable, where every module has the URL of the executable. */
declare const STANDALONE: true | undefined;
const WORKER = typeof STANDALONE === "undefined" ? "./worker.ts" : "./src/markup/worker.ts";

/** A worker that has loaded its program. */
function openWorker(): Promise<Worker> {
  const worker = new Worker(new URL(WORKER, import.meta.url).href);
  // The process may end while it waits.
  worker.unref();
  return new Promise((resolve, reject) => {
    worker.onmessage = () => resolve(worker);
    worker.onerror = reject;
  });
}
