import { createHash } from "node:crypto";
import type { Context } from "hono";
import { PRIVATE_HEADERS } from "../http/headers.ts";

const STYLE = `
:root{color-scheme:light dark;--text:#1c2024;--quiet:#60646c;--back:#f6f7f8;--card:#fff;--line:#d9dce0;--accent:#1f7a3d;--bad:#b42318;--focus:#3b82f6}
@media(prefers-color-scheme:dark){:root{--text:#edeef0;--quiet:#a3a8b0;--back:#101214;--card:#191c1f;--line:#33383e;--accent:#3fae66;--bad:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;padding:24px 16px;background:var(--back);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:420px;margin:8vh auto 0}
main.wide{max-width:860px;margin-top:2vh}
.brand{margin:0 0 16px;color:var(--accent);font-weight:700;font-size:18px}
.card{padding:28px;border:1px solid var(--line);border-radius:14px;background:var(--card)}
h1{margin:0 0 12px;font-size:22px;line-height:1.3;overflow-wrap:anywhere}
p{margin:0 0 16px}
p:last-child{margin-bottom:0}
form+p{margin-top:16px}
.quiet{color:var(--quiet);font-size:14px}
.bad{color:var(--bad)}
label{display:block;margin:0 0 6px;font-weight:600}
input{width:100%;margin:0 0 16px;padding:11px 12px;border:1px solid var(--line);border-radius:8px;background:var(--back);color:inherit;font:inherit}
button{width:100%;padding:12px 16px;border:0;border-radius:8px;background:#1f7a3d;color:#fff;font:inherit;font-weight:600;cursor:pointer}
button:hover{background:#186331}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
a{color:var(--accent);overflow-wrap:anywhere}
ul{margin:0;padding:0;list-style:none}
li{border-top:1px solid var(--line)}
li:first-child{border-top:0}
li a{display:flex;flex-wrap:wrap;gap:2px 16px;justify-content:space-between;padding:14px 0;color:inherit;text-decoration:none}
li a:hover strong{text-decoration:underline}
pre{margin:0;padding:16px;border:1px solid var(--line);border-radius:8px;background:var(--back);font:14px/1.6 ui-monospace,SFMono-Regular,Menlo,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
iframe{width:100%;height:440px;margin:0 0 16px;border:1px solid var(--line);border-radius:8px}
`;

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** Nothing but the one style, forms to ourselves, and frames of ourselves. No script, whoever wrote it. */
const POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'`;

/** Text inside HTML, also inside a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/**
 * A page of the server's own, which works without script.
 * @param title text
 * @param content HTML
 */
export function page(
  c: Context,
  title: string,
  content: string,
  { status = 200, wide = false }: { status?: 200 | 400 | 403 | 404 | 409 | 410 | 422 | 429 | 503; wide?: boolean } = {},
): Response {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)} · Conduit</title>
<style>${STYLE}</style>
</head>
<body>
<main${wide ? ' class="wide"' : ""}>
<p class="brand">conduit</p>
<div class="card">
${content}
</div>
</main>
</body>
</html>
`;
  return c.body(html, status, {
    ...PRIVATE_HEADERS,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": POLICY,
  });
}
