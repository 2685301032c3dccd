import type { Context } from "hono";
import type { Database } from "../db/pool.ts";
import type { IdentityContext } from "../features/identity/context.ts";
import type { UserRow } from "../features/identity/users/queries.ts";
import type { WriteLimits } from "../features/identity/write-limits.ts";
import type { BrowserSessions } from "./browser-session.ts";
import { type Page, respondToAnyone, respondToViewer } from "./page.ts";
import { originOf } from "./requests.ts";

/** What the routes of the app share. */
export type WebContext = {
  readonly db: Database;
  readonly identity: IdentityContext;
  readonly sessions: BrowserSessions;
  readonly writeLimits: WriteLimits;
  /** `BASE_URL` */
  readonly baseUrl: string | undefined;
  /** Whether emails are kept in the development mailbox. */
  readonly hasMailbox: boolean;
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

/** Responds with a page of the app: to anonymous readers from memory, if it was rendered with these properties before. */
export function show<Props extends { frame: Frame }>(
  c: Context,
  web: WebContext,
  render: (props: Props) => Page,
  props: Omit<Props, "frame">,
  options: { status?: number; isPersonal?: boolean } = {},
): Response {
  const frame = frameOf(c, web);
  const all = { ...props, frame } as Props;
  if (frame.viewer === null && Object.keys(options).length === 0) return respondToAnyone(c, render, all);
  return respondToViewer(c, render(all), options);
}

export function frameOf(c: Context, { baseUrl, hasMailbox }: WebContext): Frame {
  const viewer: UserRow | null | undefined = c.get("viewer");
  return {
    viewer: viewer ? { username: viewer.username, image: viewer.image } : null,
    site: `${originOf(c, baseUrl)}${c.get("basePath") ?? ""}`,
    hasMailbox,
  };
}
