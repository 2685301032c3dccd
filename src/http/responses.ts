import type { Context, MiddlewareHandler } from "hono";
import type { AppEnv, Exchange } from "./exchange.ts";

/**
 * A response with the headers of every response, those that guards and the route have set by `c.header`, and its own. To copy
 * the first takes a third of the time that `c.body` takes to set them one by one.
 */
export function respond(
  c: Context,
  body: string | Uint8Array<ArrayBuffer> | null,
  status: number,
  own: Readonly<Record<string, string>>,
): Response {
  const exchange: Exchange = c.env;
  exchange.bytes = body === null ? 0 : Buffer.byteLength(body);
  const response = new Response(body, { status, headers: exchange.shared });
  const { headers } = response;
  headers.set("X-Request-Id", exchange.requestId);
  for (const { name, value, isAppended } of exchange.added) {
    if (isAppended) headers.append(name, value);
    else headers.set(name, value);
  }
  for (const name in own) headers.set(name, own[name] as string);
  return response;
}

/** Adds the same headers to a response that was made in another way, such as by `c.body`. */
export function completeHeaders({ headers }: Response, { requestId, shared, added }: Exchange): void {
  if (headers.has("X-Request-Id")) return;
  headers.set("X-Request-Id", requestId);
  for (const { name, value, isAppended } of added) {
    if (isAppended) headers.append(name, value);
    else if (!headers.has(name)) headers.set(name, value);
  }
  for (const [name, value] of shared) if (!headers.has(name)) headers.set(name, value);
}

/** The first middleware of every route: makes `c.header` collect headers for the functions above. */
export const enterRoutes: MiddlewareHandler<AppEnv> = function enterRoutes(c, next) {
  const { added } = c.env;
  c.env.context = c;
  c.header = (name, value, options) => {
    if (value !== undefined) added.push({ name, value, isAppended: options?.append === true });
  };
  return next();
};
