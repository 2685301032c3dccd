import type { Context } from "hono";

/** A request on its way through the application. Routes have it as `c.env`. */
export type Exchange = {
  readonly requestId: string;
  readonly traceId: string | undefined;
  /** The address of the client; null where it is unknown, as on a Unix socket. */
  readonly clientAddress: string | null;
  /** The headers of every response. They are copied, and never changed. */
  readonly shared: Headers;
  /** The headers that guards and the route add, in their order. */
  readonly added: AddedHeader[];
  /** The size of the response body, where known: a Response does not know it. */
  bytes?: number;
  /** What the routes know about the request. */
  context?: Context;
};

type AddedHeader = { readonly name: string; readonly value: string; readonly isAppended: boolean };

/** What guards and handlers learn about a request, for the log. */
export type RequestVariables = {
  /** The path of `BASE_URL`, such as `/conduit`; undefined if it has none. */
  basePath?: string;
  userId?: string;
  viewerId?: string | null;
  tokenError?: string;
};

/** The types of the whole application in Hono's terms. */
export type AppEnv = { Bindings: Exchange; Variables: RequestVariables };
