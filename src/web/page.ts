import type { Context } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import { respond } from "../http/responses.ts";
import { compressed, type Rendered } from "./rendered.ts";

/** An HTML document. */
export type Page = JSX.Element;

/**
 * Pages run no script, load only the server's own style sheet and icon, send forms only to this server, and cannot be
 * framed. A page that needs more names the directives that differ.
 */
const POLICY = {
  "default-src": "'none'",
  "style-src": "'self'",
  "img-src": "'self'",
  "form-action": "'self'",
  "base-uri": "'none'",
  "frame-ancestors": "'none'",
};

type Policy = Readonly<Record<string, string>>;

/** What the pages of the app need in addition: their script, and pictures from wherever people have them. */
const APP_POLICY: Policy = {
  "script-src": "'self'",
  // Lighthouse, for one, fetches robots.txt from the page.
  "connect-src": "'self'",
  "img-src": "'self' data: https: http:",
};

type PageOptions = {
  status?: number;
  /** Content security policy directives, in addition to the usual ones or instead of them. */
  policy?: Policy;
  /** Whether the page shows every visitor the same. Other pages, such as those with a token, must not be stored. */
  isPublic?: boolean;
};

/** Responds with a page. */
export function respondWithPage(
  c: Context,
  page: Page,
  { status = 200, policy = {}, isPublic = false }: PageOptions = {},
): Response {
  return respond(c, htmlOf(page, c.get("basePath")), status, {
    ...PRIVATE_HEADERS,
    ...securityHeaders({ ...POLICY, ...policy }),
    ...(isPublic ? { "Cache-Control": "no-cache" } : {}),
    "X-Robots-Tag": "noindex",
  });
}

/**
 * Responds with a page of the app.
 * @param isPersonal whether it shows more than everybody may see, such as an email address: then nothing stores it
 */
export function respondToViewer(
  c: Context,
  page: Page,
  { status = 200, isPersonal = false }: { status?: number; isPersonal?: boolean } = {},
): Response {
  return respond(c, htmlOf(page, c.get("basePath")), status, {
    ...APP_HEADERS,
    // The browser may keep it for "back", and asks before it shows it again.
    "Cache-Control": isPersonal ? "no-store" : "private, no-cache",
    "X-Robots-Tag": "noindex",
  });
}

/** Renders a page that contains no token, so that it may be compressed. */
export const rendered = (page: Page, basePath: string | undefined): Rendered =>
  compressed(htmlOf(page, basePath), APP_HEADERS);

const htmlOf = (page: Page, basePath: string | undefined): string =>
  `<!doctype html>\n${underBasePath(`${page}`, basePath)}\n`;

/**
 * Puts the path of `BASE_URL` before every link, form and asset of a page, so that no page has to know it. In text and in
 * values of attributes, quotes are escaped: this finds attributes only.
 */
function underBasePath(html: string, basePath: string | undefined): string {
  return basePath === undefined
    ? html
    : html.replace(/ (href|src|action|formaction|data-document)="\/(?!\/)/g, ` $1="${basePath}/`);
}

function securityHeaders(policy: Policy): Record<string, string> {
  return {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": Object.entries(policy)
      .map(([directive, sources]) => `${directive} ${sources}`)
      .join("; "),
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
  };
}

const APP_HEADERS = {
  ...securityHeaders({ ...POLICY, ...APP_POLICY }),
  // With "no-referrer", browsers would not send the origin of forms either (Fetch, 3.2).
  "Referrer-Policy": "same-origin",
};
