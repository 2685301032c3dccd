import { LRUCache } from "lru-cache";

/** In UTF-16 units. A table of this length, the worst case, takes half a second and 200 MB of memory. */
const LENGTH_MAX = 256 * 1024;
/** How long one text may take, also on a machine that does much else. */
const DEADLINE_MS = 5_000;
/** After this time, a text that could not be rendered is tried again. */
const RETRY_MS = 60_000;
/** How many texts may wait. */
const WAITING_MAX = 200;
const CACHE_MAX_BYTES = 16 * 1024 * 1024;

type Job = { readonly text: string; readonly finish: (html: string | null) => void };

/**
 * Renders texts in Markdown to safe HTML, in a worker, so that no text can block the process. A text that is too long, takes too
 * long or is nested too deeply is shown as it is, escaped; so are the longest ones while too many wait. Each text is rendered
 * once, as long as the cache has room.
 * @param deadlineMs after this time a text is given up
 */
export function createRenderer(deadlineMs = DEADLINE_MS) {
  const cache = new LRUCache<string, string>({
    maxSize: CACHE_MAX_BYTES,
    sizeCalculation: (html) => html.length + 200,
  });
  const rendering = new Map<string, Promise<string>>();
  const waiting: Job[] = [];
  let worker: Promise<Worker> | undefined;
  let isBusy = false;

  /** The shortest comes first: what is quick does not wait for what is slow. If there is no room, the longest gives way. */
  function add(job: Job): void {
    waiting.push(job);
    waiting.sort((a, b) => a.text.length - b.text.length);
    if (waiting.length > WAITING_MAX) waiting.pop()?.finish(null);
    void next();
  }

  async function next(): Promise<void> {
    const job = isBusy ? undefined : waiting.shift();
    if (job === undefined) return;
    isBusy = true;
    job.finish(await renderInWorker(job.text));
    isBusy = false;
    void next();
  }

  /** Null if the text cannot be rendered, or takes too long. */
  async function renderInWorker(text: string): Promise<string | null> {
    worker ??= openWorker();
    const current = await worker.catch(() => undefined);
    if (current === undefined) {
      worker = undefined;
      return null;
    }
    const { promise, resolve } = Promise.withResolvers<string | null>();
    const giveUp = () => {
      current.terminate();
      worker = undefined;
      resolve(null);
    };
    const deadline = setTimeout(giveUp, deadlineMs);
    current.onmessage = ({ data }: MessageEvent<string | null>) => resolve(data);
    current.onerror = giveUp;
    current.postMessage(text);
    return promise.finally(() => clearTimeout(deadline));
  }

  async function renderNow(text: string, key: string): Promise<string> {
    const html = await new Promise<string | null>((finish) => add({ text, finish }));
    if (html !== null) cache.set(key, html);
    // Perhaps the machine was busy.
    else cache.set(key, asItIs(text), { ttl: RETRY_MS });
    return html ?? asItIs(text);
  }

  return {
    /** The HTML of a text, at once if it is in the cache. */
    render(text: string): string | Promise<string> {
      const key = new Bun.CryptoHasher("sha256").update(text).digest("base64");
      const known = cache.get(key) ?? rendering.get(key);
      if (known !== undefined) return known;
      if (text.length > LENGTH_MAX) return asItIs(text);
      const result = renderNow(text, key).finally(() => rendering.delete(key));
      rendering.set(key, result);
      return result;
    },
    async stop(): Promise<void> {
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

const asItIs = (text: string): string => `<pre class="plain">${Bun.escapeHTML(text)}</pre>`;
