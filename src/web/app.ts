import type { Context } from "hono";
import type { Database } from "../db/pool.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import type { UserRow } from "../features/identity/users/queries.ts";
import type { WriteLimits } from "../features/identity/write-limits.ts";
import type { Memory, Shelf } from "../memory/memory.ts";
import type { BrowserSessions } from "./browser-session.ts";
import { type Page, type Rendered, rendered, respondToViewer, respondWithRendered } from "./page.ts";
import { originOf } from "./requests.ts";

/** What the routes of the app share. */
export type WebContext = {
  readonly db: Database;
  readonly memory: Memory;
  readonly identity: IdentityContext;
  readonly sessions: BrowserSessions;
  readonly writeLimits: WriteLimits;
  /** Pages for anonymous readers. */
  readonly pages: Shelf<Rendered>;
  /** `BASE_URL` */
  readonly baseUrl: string | undefined;
  /** Whether emails are kept in the development mailbox. */
  readonly hasMailbox: boolean;
  /** Whether addresses of deleted articles respond with 410. */
  readonly isDeletionRemembered: boolean;
};

/** Who reads a page, as its navigation shows them. */
export type Viewer = Pick<UserRow, "username" | "image">;

/** What every page of the app knows. */
export type Frame = {
  /** Null for anonymous readers. */
  readonly viewer: Viewer | null;
  /** For addresses that must be complete, such as `https://conduit.example`, with the path of `BASE_URL`. */
  readonly site: string;
  readonly hasMailbox: boolean;
};

/** Responds with a page of the app. */
export function show<Props extends { frame: Frame }>(
  c: Context,
  web: WebContext,
  page: (props: Props) => Page,
  props: Omit<Props, "frame">,
  options: { status?: number; isPersonal?: boolean } = {},
): Response {
  return respondToViewer(c, page({ ...props, frame: frameOf(c, web) } as Props), options);
}

/** What a page shows, and the topics that it depends on (memory/topics.ts). */
export type Content<Props> = { readonly props: Omit<Props, "frame">; readonly topics: readonly string[] };

/**
 * Responds with a page that is the same for all anonymous readers. They get it from memory, until something changes that it
 * shows. For everybody else it is read and rendered.
 * @param key the same for equal requests
 * @param read what the page shows to a viewer; null is an anonymous reader
 */
export async function showToAll<Props extends { frame: Frame }>(
  c: Context,
  web: WebContext,
  page: (props: Props) => Page,
  key: string,
  read: (viewerId: string | null) => Promise<Content<Props>>,
): Promise<Response> {
  const viewer: UserRow | null = c.get("viewer");
  if (viewer !== null) return show(c, web, page, (await read(viewer.id)).props);
  const frame = frameOf(c, web);
  const fullKey = `${frame.site} ${key}`;
  const basePath: string | undefined = c.get("basePath");
  const load = () =>
    web.pages.load(fullKey, async () => {
      const { props, topics } = await read(null);
      const value = rendered(page({ ...props, frame } as Props), basePath);
      return { value, topics, bytes: value.html.byteLength + value.gzip.byteLength + HEADERS_BYTES };
    });
  // A reload ahead of time may fail. The next request reports the problem, if it still exists.
  const found = web.pages.find(fullKey, () => load().catch(() => {}));
  return respondWithRendered(c, found ?? (await load()));
}

/** About what the headers of a page and its key take. */
const HEADERS_BYTES = 1_500;

function frameOf(c: Context, { baseUrl, hasMailbox }: WebContext): Frame {
  const viewer: UserRow | null | undefined = c.get("viewer");
  return {
    viewer: viewer ? { username: viewer.username, image: viewer.image } : null,
    site: `${originOf(c, baseUrl)}${c.get("basePath") ?? ""}`,
    hasMailbox,
  };
}
