import type { Child, PropsWithChildren } from "hono/jsx";
import { assetPath } from "./assets.ts";

type LayoutProps = PropsWithChildren<{
  title: string;
  /** One sentence for search results and link previews. */
  description?: string;
  /** `narrow` for forms and short messages, `wide` for lists, `full` for content with a layout of its own. */
  width?: "narrow" | "wide" | "full";
  /** More elements for the head, such as the styles and scripts of one page. */
  head?: Child;
}>;

/** The frame of every page: head, navigation and content. */
export function Layout({ title, description, width = "wide", head, children }: LayoutProps) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        {description === undefined ? null : <meta name="description" content={description} />}
        <title>{title === "Conduit" ? title : `${title} · Conduit`}</title>
        <link rel="icon" type="image/svg+xml" href={assetPath("icon.svg")} />
        <link rel="stylesheet" href={assetPath("site.css")} />
        {head}
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to content
        </a>
        <nav class="navbar">
          <div class="container">
            <a class="navbar-brand" href="/">
              conduit
            </a>
            <div class="navbar-nav">
              <a class="nav-link" href="/docs">
                API reference
              </a>
            </div>
          </div>
        </nav>
        <main id="main" class={width === "full" ? undefined : `container page ${width}`}>
          {children}
        </main>
      </body>
    </html>
  );
}
