import docsScript from "./docs.page.js" with { type: "text" };
import style from "./style.page.css" with { type: "text" };

/** A page that needs nothing else from anywhere, and the headers that hold the browser to that. */
export type Page = { readonly html: string; readonly headers: Record<string, string> };

/** The page at `/`: what this is, and where to go. */
export function welcomePage(version: string): Page {
  return page(
    "Conduit API",
    `<div class="welcome">
<h1>Conduit</h1>
<p>A server of the RealWorld API: articles, comments, favourites, follows.</p>
<ul>
<li><a href="/docs"><b>Documentation</b>Every operation, to read and to try</a></li>
<li><a href="/openapi.json"><b>OpenAPI 3.1</b>The same, for programs</a></li>
<li><a href="/health"><b>Health</b>Whether server and database run</a></li>
</ul>
<footer>Version ${version}. A front end is told this address, with <code>/api</code> behind it.</footer>
</div>`,
  );
}

/** The interactive documentation. */
export function docsPage(): Page {
  return page(
    "Conduit API: documentation",
    `<div class="docs" id="docs"><noscript>This page needs JavaScript; <a href="/openapi.json">openapi.json</a> does not.</noscript></div>`,
    docsScript,
  );
}

/** Style and script are let run by their hash, and nothing else is. */
function page(title: string, body: string, script?: string): Page {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
${body}
${script === undefined ? "" : `<script type="module">${script}</script>`}
</body>
</html>
`;
  const allowed = (text: string | undefined): string => (text === undefined ? "'none'" : `'sha256-${sha256(text)}'`);
  const policy = {
    "default-src": "'none'",
    "script-src": allowed(script),
    "style-src": allowed(style),
    "connect-src": script === undefined ? "'none'" : "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
  };
  return {
    html,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy": Object.entries(policy)
        .map(([name, value]) => `${name} ${value}`)
        .join("; "),
      "Cross-Origin-Opener-Policy": "same-origin",
      "Referrer-Policy": "no-referrer",
      "X-Frame-Options": "DENY",
      "X-Robots-Tag": "noindex",
    },
  };
}

const sha256 = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("base64");
