import type { Context } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import { respond } from "../http/responses.ts";

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

type PageOptions = {
  status?: 200 | 403 | 404 | 409 | 410 | 422 | 429 | 503;
  /** Content security policy directives, in addition to the usual ones or instead of them. */
  policy?: Readonly<Record<string, string>>;
  /** Whether the page shows every visitor the same. Other pages, such as those with a token, must not be stored. */
  isPublic?: boolean;
};

/** Responds with a page. */
export function respondWithPage(
  c: Context,
  page: Page,
  { status = 200, policy = {}, isPublic = false }: PageOptions = {},
): Response {
  return respond(c, `<!doctype html>\n${underBasePath(`${page}`, c.get("basePath"))}\n`, status, {
    ...PRIVATE_HEADERS,
    ...(isPublic ? { "Cache-Control": "no-cache" } : {}),
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": Object.entries({ ...POLICY, ...policy })
      .map(([directive, sources]) => `${directive} ${sources}`)
      .join("; "),
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
  });
}

/**
 * Puts the path of `BASE_URL` before every link, form and asset of a page, so that no page has to know it. In text and in
 * values of attributes, quotes are escaped: this finds attributes only.
 */
function underBasePath(html: string, basePath: string | undefined): string {
  return basePath === undefined
    ? html
    : html.replace(/ (href|src|action|data-document)="\/(?!\/)/g, ` $1="${basePath}/`);
}

/** Whether the client asks for HTML. Browsers do; programs ask for JSON or for anything. */
export function wantsPage(c: Context): boolean {
  return (c.req.header("Accept") ?? "").includes("text/html");
}
