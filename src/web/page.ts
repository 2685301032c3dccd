import type { Context } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import { LRUCache } from "lru-cache";
import { PRIVATE_HEADERS } from "../http/headers.ts";
import { isKnown } from "../http/validation.ts";
import { acceptsGzip } from "./requests.ts";
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
  return c.body(htmlOf(page, c.get("basePath")), status as 200, {
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
  return c.body(htmlOf(page, c.get("basePath")), status as 200, {
    ...APP_HEADERS,
    // The browser may keep it for "back", and asks before it shows it again.
    "Cache-Control": isPersonal ? "no-store" : "private, no-cache",
    "X-Robots-Tag": "noindex",
  });
}

/** A rendered page, with its compressed form once a client has accepted that. */
type Rendered = { readonly bytes: Uint8Array<ArrayBuffer>; gzip?: Uint8Array<ArrayBuffer>; readonly etag: string };

/** Rendered pages, of all apps of the process. */
const CACHE_MAX_BYTES = 32 * 1024 * 1024;
const cache = new LRUCache<string, Rendered>({
  maxSize: CACHE_MAX_BYTES,
  // Compressed, a page has a quarter of its size.
  sizeCalculation: ({ bytes }) => Math.ceil(bytes.byteLength * 1.3) + 500,
});

/**
 * Responds with a page for anonymous readers. It is a pure function of its properties, so it is rendered once for each state of
 * the content, and nothing has to be invalidated: what changed has other properties. It contains no token, so it may be compressed.
 * @param render a named function at the top of a module
 */
export function respondToAnyone<Props extends object>(
  c: Context,
  render: (props: Props) => Page,
  props: Props,
): Response {
  const basePath: string | undefined = c.get("basePath");
  const key = new Bun.CryptoHasher("sha256").update(JSON.stringify([render.name, basePath, props])).digest("base64");
  let page = cache.get(key);
  if (page === undefined) {
    const bytes = Buffer.from(htmlOf(render(props), basePath));
    page = { bytes, etag: `W/"${Bun.hash(bytes).toString(36)}"` };
    cache.set(key, page);
  }
  const headers: Record<string, string> = { ...APP_HEADERS, ETag: page.etag, "Cache-Control": "no-cache" };
  c.header("Vary", "Accept-Encoding", { append: true });
  if (isKnown(c.req.header("If-None-Match"), page.etag)) return c.body(null, 304, headers);
  let body = page.bytes;
  if (acceptsGzip(c)) {
    page.gzip ??= Bun.gzipSync(page.bytes);
    body = page.gzip;
    headers["Content-Encoding"] = "gzip";
  }
  c.set("bytes", body.byteLength);
  return c.body(body, 200, headers);
}

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
