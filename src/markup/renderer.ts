import { LRUCache } from "lru-cache";
import { createWorkerQueue } from "./worker-queue.ts";

/** In UTF-16 units. A table of this length, the worst case, takes half a second and 200 MB of memory. */
const LENGTH_MAX = 256 * 1024;
/** After this time, a text that could not be rendered is tried again. */
const RETRY_MS = 60_000;
/** How many texts may wait. */
const WAITING_MAX = 200;
const CACHE_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Renders texts in Markdown to safe HTML, in a worker, so that no text can block the process. A text that is too long, takes too
 * long or is nested too deeply is shown as it is, escaped; so are the longest ones while too many wait. Each text is rendered
 * once, as long as the cache has room.
 * @param deadlineMs after this time a text is given up
 */
export function createRenderer(deadlineMs?: number) {
  const cache = new LRUCache<string, string>({
    maxSize: CACHE_MAX_BYTES,
    sizeCalculation: (html) => html.length + 200,
  });
  const rendering = new Map<string, Promise<string>>();
  const queue = createWorkerQueue(WAITING_MAX, deadlineMs);

  async function renderNow(text: string, key: string): Promise<string> {
    const html = (await queue.run(text, text.length)) as string | null;
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
    stop: queue.stop,
  };
}

const asItIs = (text: string): string => `<pre class="plain">${Bun.escapeHTML(text)}</pre>`;
