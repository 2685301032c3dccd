import type { Context, MiddlewareHandler } from "hono";
import { ApiError } from "../http/errors.ts";

/** Whether the client asks for HTML. Browsers do; programs ask for JSON or for anything. */
export function wantsPage(c: Context): boolean {
  return (c.req.header("Accept") ?? "").includes("text/html");
}

/** RFC 9110, 12.5.3. Browsers list it without a weight. */
export const acceptsGzip = (c: Context): boolean =>
  /\bgzip\b(?!;q=0(?:,|$))/.test(c.req.header("Accept-Encoding") ?? "");

/**
 * Whether the browser is connected by TLS, to a proxy in front. The header needs no trusted sender: whoever invents it makes
 * their own cookie stricter.
 */
export function isSecure(c: Context, baseUrl: string | undefined): boolean {
  if (baseUrl !== undefined) return baseUrl.startsWith("https:");
  return c.req.header("X-Forwarded-Proto")?.startsWith("https") === true;
}

/** The origin of this server as the browser knows it, for addresses that must be complete. */
function originOf(c: Context, baseUrl: string | undefined): string {
  if (baseUrl !== undefined) return new URL(baseUrl).origin;
  return `${isSecure(c, undefined) ? "https" : "http"}://${c.req.header("Host") ?? "localhost"}`;
}

/** The address of this server as the browser knows it, with the path of `BASE_URL`: `https://conduit.example`. */
export const siteOf = (c: Context, baseUrl: string | undefined): string =>
  `${originOf(c, baseUrl)}${c.get("basePath") ?? ""}`;

/**
 * Guard for every form: refuses what a page of another site made the browser send (cross-site request forgery). Browsers
 * themselves say where a request comes from, in headers that no page can set: `Sec-Fetch-Site` (W3C Fetch Metadata), and where
 * they do not send that, without TLS, `Origin` (RFC 6454, 7). A request with neither is not from a current browser. Sites of the
 * same domain count as others.
 * @param baseUrl `BASE_URL`
 */
export function sameOriginForms(baseUrl: string | undefined): MiddlewareHandler {
  return function checkOrigin(c, next) {
    if (!isSameOrigin(c, baseUrl)) {
      throw new ApiError("forbidden", { request: ["must come from a page of this site"] });
    }
    return next();
  };
}

function isSameOrigin(c: Context, baseUrl: string | undefined): boolean {
  const site = c.req.header("Sec-Fetch-Site");
  if (site !== undefined) return site === "same-origin";
  const origin = c.req.header("Origin");
  if (origin === undefined) return false;
  if (baseUrl !== undefined) return origin === new URL(baseUrl).origin;
  return URL.canParse(origin) && new URL(origin).host === c.req.header("Host");
}

/** Leads to a page of this server by GET, also after a form. @param path without the path of `BASE_URL` */
export function redirectTo(c: Context, path: string): Response {
  return c.redirect(`${c.get("basePath") ?? ""}${path}`, 303);
}

/**
 * A path of this server, from a text that may be any: `undefined` if it leads elsewhere, as `//example.com` and `/\example.com`
 * do.
 */
export function localPath(text: string | undefined): string | undefined {
  if (text === undefined || !text.startsWith("/")) return undefined;
  const base = "http://localhost";
  if (!URL.canParse(text, base)) return undefined;
  const { origin, pathname, search } = new URL(text, base);
  return origin === base && !pathname.startsWith("//") ? pathname + search : undefined;
}

/** The page with the form that was sent, without the path of `BASE_URL`. Only forms of this server come this far. */
export function refererPath(c: Context): string | undefined {
  const referer = c.req.header("Referer");
  if (referer === undefined || !URL.canParse(referer)) return undefined;
  const { pathname, search } = new URL(referer);
  const basePath: string = c.get("basePath") ?? "";
  return localPath(pathname.startsWith(`${basePath}/`) ? pathname.slice(basePath.length) + search : undefined);
}

/** The number of a page of a list, from `?page=`. Whatever is none is the first. */
export function pageNumber(c: Context): number {
  const text = c.req.query("page") ?? "";
  return /^[1-9][0-9]{0,8}$/.test(text) ? Number(text) : 1;
}
