import { raw } from "hono/html";
import type { Child, PropsWithChildren } from "hono/jsx";
import type { Frame } from "./app.ts";
import { assetPath } from "./assets.ts";
import { FORMATS } from "./feeds/formats.ts";
import { Navigation } from "./parts/navigation.tsx";

type LayoutProps = PropsWithChildren<{
  title: string;
  /** One sentence for search results and link previews. */
  description?: string | undefined;
  /** Who reads the page and where. Without it, the page is the same for everybody, and has no navigation. */
  frame?: Frame;
  /** The address of the page without the path of `BASE_URL`. Pages without one are not for search engines. */
  path?: string;
  /** The page's articles as a feed: its name, and its path without the extension. */
  feed?: { readonly title: string; readonly path: string } | undefined;
  /** Open Graph: https://ogp.me */
  type?: "website" | "article" | "profile";
  /** schema.org, for search engines. */
  data?: object | undefined;
  /** `narrow` for short forms and messages, `settings` for longer forms, `wide` for lists, `full` for content with a layout of its own. */
  width?: "narrow" | "settings" | "wide" | "full";
  /** More elements for the head, such as the styles and scripts of one page. */
  head?: Child | undefined;
}>;

/** The frame of every page: head, navigation, content and footer. */
export function Layout(props: LayoutProps) {
  const { title, description, frame, path, feed, head, width = "wide", children } = props;
  const fullTitle = title === "Conduit" ? title : `${title} · Conduit`;
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        {description === undefined ? null : <meta name="description" content={description} />}
        <title>{fullTitle}</title>
        <link rel="icon" type="image/svg+xml" href={assetPath("icon.svg")} />
        <link rel="stylesheet" href={assetPath("site.css")} />
        {frame === undefined ? null : <script type="module" src={assetPath("site.js")} />}
        {frame === undefined || path === undefined ? null : <Preview {...props} frame={frame} path={path} />}
        {feed === undefined
          ? null
          : FORMATS.map(({ extension, mediaType, label }) => (
              <link
                rel="alternate"
                type={mediaType}
                title={`${feed.title} (${label})`}
                href={`${feed.path}/feed.${extension}`}
              />
            ))}
        {head}
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to content
        </a>
        <Navigation frame={frame} path={path} />
        <main id="main" class={width === "full" ? undefined : `container page ${width}`}>
          {children}
        </main>
        <footer>
          <div class="container footer-content">
            <span>Conduit, a place to share what you know</span>
            <div class="footer-links">
              {frame?.hasMailbox ? <a href="/dev/mail">Mailbox</a> : null}
              <a href="/docs">API</a>
            </div>
          </div>
        </footer>
      </body>
    </html>
  );
}

/** What search engines and link previews show of a page. */
function Preview({
  title,
  description,
  type = "website",
  data,
  frame,
  path,
}: LayoutProps & { frame: Frame; path: string }) {
  const url = frame.site + path;
  return (
    <>
      <link rel="canonical" href={url} />
      <meta property="og:site_name" content="Conduit" />
      <meta property="og:type" content={type} />
      <meta property="og:title" content={title} />
      <meta property="og:url" content={url} />
      {description === undefined ? null : <meta property="og:description" content={description} />}
      <meta property="og:image" content={frame.site + assetPath("card.png")} />
      <meta name="twitter:card" content="summary_large_image" />
      {data === undefined ? null : (
        <script type="application/ld+json">{raw(jsonForScript({ "@context": "https://schema.org", ...data }))}</script>
      )}
    </>
  );
}

/** In a script element, "<" could end it, or begin a comment. */
const jsonForScript = (data: object): string => JSON.stringify(data).replaceAll("<", "\\u003c");
