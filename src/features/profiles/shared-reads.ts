import type { Context } from "hono";
import type { Database } from "../../db/pool.ts";
import { markStale } from "../../http/caching.ts";
import { linkNextPage, nextPageLink } from "../../http/cursor.ts";
import { ApiError } from "../../http/errors.ts";
import { Moved } from "../../http/moved.ts";
import { etagOf, type JsonText, jsonText, jsonTextOf } from "../../http/validation.ts";
import { AGE_MAX_MS, type Memory, type Stale, type Version } from "../../memory/memory.ts";
import { markBadToken } from "../identity/guards.ts";
import { type Body, bodyOf, bytesOf, type FlaggedIds, textFor } from "./body.ts";
import { findReader, type Reader } from "./readers.ts";

/** What a statement read for a viewer. */
export type Seen<Value extends object = object> = {
  /** The response, as the viewer sees it. */
  readonly value: Value;
  /** Of a response that has flags. */
  readonly ids?: FlaggedIds;
  /** What the response depends on, besides the viewer. */
  readonly topics: readonly string[];
  /** Whether nobody but the viewer may see it: it is never in memory. */
  readonly isPrivate?: boolean;
  /** Whether the viewer's account was deleted. */
  readonly viewerGone?: boolean;
  /** Of a list. */
  readonly nextCursor?: string | null;
  /** Of a single article. */
  readonly version?: Version;
  /** Of a single article: the number of its version, for a strong entity tag. */
  readonly articleVersion?: number;
};

/** Runs the statement of a read for a viewer; null is an anonymous reader. Throws 404. */
type Read = (viewerId: string | null) => Promise<Seen>;

export type SharedReads = {
  /**
   * Responds to a GET whose responses to different readers differ only in flags. One copy in memory serves all readers. Where
   * it is missing, the statement for the viewer runs, as without memory, and fills it. While the database is away, anonymous
   * readers get a copy that may be old, which headers say.
   * @param key the same for equal requests, whoever sends them
   */
  respond(c: Context, key: string, read: Read): Response | Promise<Response>;
};

export function createSharedReads(db: Database, memory: Memory): SharedReads {
  const bodies = memory.shelf<Body>("body");
  const readers = memory.shelf<Reader | null>("reader");

  function respond(c: Context, key: string, read: Read): Response | Promise<Response> {
    const viewerId: string | null = c.get("viewerId") ?? null;
    const stale = viewerId === null ? bodies.findStale(key) : undefined;
    if (stale !== undefined) return sendStale(c, stale);
    if (!memory.isServing()) return respondFromDatabase(c, read, viewerId);
    const response = respondFromMemory(c, key, read, viewerId);
    if (!(response instanceof Promise)) return response;
    return response.catch((error) => {
      // What does not exist for others may exist for this viewer.
      const mayBeOwn = viewerId !== null && error instanceof ApiError && error.code === "not_found";
      if (error !== PRIVATE && !mayBeOwn) throw error;
      return respondFromDatabase(c, read, viewerId);
    });
  }

  function respondFromMemory(
    c: Context,
    key: string,
    read: Read,
    viewerId: string | null,
  ): Response | Promise<Response> {
    const body = bodies.find(key, () => loadBody(key, () => read(null)).catch(ignore));
    if (viewerId === null) return body === undefined ? respondToAnonymous(c, key, read) : sendShared(c, body);
    const reader = readers.find(viewerId, () => loadReader(viewerId).catch(ignore));
    if (body === undefined) return fillFor(c, key, read, viewerId, reader);
    if (reader === undefined) return respondToNewReader(c, body, read, viewerId);
    return reader === null ? respondFromDatabase(c, read, viewerId) : sendTo(c, body, reader);
  }

  async function respondFromDatabase(c: Context, read: Read, viewerId: string | null): Promise<Response> {
    const seen = await read(viewerId);
    return sendSeen(c, seen, jsonTextOf(seen.value));
  }

  async function respondToAnonymous(c: Context, key: string, read: Read): Promise<Response> {
    return sendShared(c, await loadBody(key, () => read(null)));
  }

  /** The response is not in memory: one statement reads it with the viewer's flags, or without them if memory has those. */
  async function fillFor(
    c: Context,
    key: string,
    read: Read,
    viewerId: string,
    reader: Reader | null | undefined,
  ): Promise<Response> {
    if (reader) return sendTo(c, await loadBody(key, () => read(null)), reader);
    let own: { seen: Seen; text: string } | undefined;
    const body = await loadBody(
      key,
      () => read(viewerId),
      (seen, text) => {
        own = { seen, text };
      },
    );
    // Otherwise another request has run the statement.
    return own === undefined ? respondToNewReader(c, body, read, viewerId) : sendSeen(c, own.seen, own.text);
  }

  async function respondToNewReader(c: Context, body: Body, read: Read, viewerId: string): Promise<Response> {
    const reader = await loadReader(viewerId);
    return reader === null ? respondFromDatabase(c, read, viewerId) : sendTo(c, body, reader);
  }

  /** @param onSeen called if this call, and not another one at the same time, has read the database */
  function loadBody(key: string, read: () => Promise<Seen>, onSeen?: (seen: Seen, text: string) => void) {
    return bodies.load(key, async () => {
      // Other requests, of other viewers, may be waiting for this one.
      const seen = await read().catch(hidePrivate);
      if (seen.isPrivate) throw PRIVATE;
      const text = JSON.stringify(seen.value);
      onSeen?.(seen, text);
      const body = bodyOf(text, seen.ids ?? NO_FLAGS, seen.nextCursor ?? null, seen.articleVersion);
      return { value: body, topics: seen.topics, bytes: bytesOf(body), version: seen.version };
    });
  }

  const loadReader = (viewerId: string) => readers.load(viewerId, () => findReader(db, viewerId));

  return { respond };
}

function sendShared(c: Context, body: Body): Response {
  setLink(c, body);
  return jsonText(c, body.text, body.etag);
}

function sendStale(c: Context, { value, ageMs }: Stale<Body>): Response {
  markStale(c, ageMs, AGE_MAX_MS);
  return sendShared(c, value);
}

function sendTo(c: Context, body: Body, reader: Reader): Response {
  if (reader.isGone) markBadToken(c);
  const text = textFor(body, reader);
  setLink(c, body);
  return jsonText(c, text, text === body.text ? body.etag : etagOf(text, body.articleVersion));
}

function sendSeen(c: Context, { viewerGone, nextCursor, articleVersion }: Seen, text: JsonText): Response {
  if (viewerGone) markBadToken(c);
  linkNextPage(c, nextCursor ?? null);
  return jsonText(c, text, etagOf(text, articleVersion));
}

/** To write the link takes longer than all else here, and most requests for a page have the same URL. */
function setLink(c: Context, body: Body): void {
  if (body.nextCursor === null) return;
  const { url } = c.req;
  if (body.link?.url !== url) body.link = { url, header: nextPageLink(c, body.nextCursor) };
  c.header("Link", body.link.header);
}

/** What a read throws that must not be shared: then each viewer's own request reads the database. */
const PRIVATE = new Error("this response is for one viewer only");

function hidePrivate(error: unknown): never {
  throw error instanceof Moved && error.isPrivate ? PRIVATE : error;
}

const NO_FLAGS: FlaggedIds = { favorited: [], following: [] };

/** A reload ahead of time failed. The next request reports the problem, if it still exists. */
const ignore = (): void => {};
