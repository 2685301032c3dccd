import type { Context } from "hono";
import { markStale } from "../http/caching.ts";
import { respond } from "../http/responses.ts";
import { etagOf, isKnown } from "../http/validation.ts";
import { AGE_MAX_MS, type Shelf } from "../memory/memory.ts";
import { acceptsGzip } from "./requests.ts";

/** A response that is the same for all anonymous readers, with the headers of both its forms. */
export type Rendered = {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly gzip: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
  readonly gzipHeaders: Readonly<Record<string, string>>;
};

/** Compresses a text that contains no token. */
export function compressed(text: string, own: Readonly<Record<string, string>>): Rendered {
  const body = Buffer.from(text);
  const headers = { ...own, "Cache-Control": "no-cache", ETag: etagOf(body) };
  return { body, gzip: Bun.gzipSync(body), headers, gzipHeaders: { ...headers, "Content-Encoding": "gzip" } };
}

/**
 * Responds with what is the same for all anonymous readers. It stays in memory until something changes that it shows.
 * @param key the same for equal requests
 * @param render reads and renders it, with the topics that it depends on (memory/topics.ts)
 */
export async function respondFromMemory(
  c: Context,
  shelf: Shelf<Rendered>,
  key: string,
  render: () => Promise<{ value: Rendered; topics: readonly string[] }>,
): Promise<Response> {
  const load = () =>
    shelf.load(key, async () => {
      const { value, topics } = await render();
      return { value, topics, bytes: value.body.byteLength + value.gzip.byteLength + HEADERS_BYTES };
    });
  const stale = shelf.findStale(key);
  if (stale !== undefined) {
    markStale(c, stale.ageMs, AGE_MAX_MS);
    return respondWithRendered(c, stale.value);
  }
  // A reload ahead of time may fail. The next request reports the problem, if it still exists.
  const found = shelf.find(key, () => load().catch(() => {}));
  return respondWithRendered(c, found ?? (await load()));
}

/** About what the headers of a response and its key take. */
const HEADERS_BYTES = 1_500;

export function respondWithRendered(c: Context, { body, gzip, headers, gzipHeaders }: Rendered): Response {
  c.header("Vary", "Accept-Encoding", { append: true });
  if (isKnown(c.req.header("If-None-Match"), headers.ETag ?? "")) return respond(c, null, 304, headers);
  const isCompressed = acceptsGzip(c);
  const sent = isCompressed ? gzip : body;
  c.set("bytes", sent.byteLength);
  return respond(c, sent, 200, isCompressed ? gzipHeaders : headers);
}
