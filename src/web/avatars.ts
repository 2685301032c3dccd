import type { MiddlewareHandler } from "hono";

/** Green, blue, violet, red, brown and so on: white letters are readable on each. */
const COLOURS = ["#2f6f4f", "#2d6a80", "#3f5f99", "#6a5496", "#8a4f7d", "#a04b4b", "#8a5a2b", "#66702a", "#4d6370"];

/**
 * Pictures for users who have none: the initials of a name on a colour, `/avatars/ana-petrova.svg`. The demonstration content
 * uses them.
 */
export const serveAvatar: MiddlewareHandler = async (c, next) => {
  const [, name] = /^(.{1,50})\.svg$/u.exec(c.req.param("file") ?? "") ?? [];
  if (name === undefined || (c.req.method !== "GET" && c.req.method !== "HEAD")) return next();
  return c.body(avatar(name), 200, {
    "Content-Type": "image/svg+xml",
    "Cache-Control": "public, max-age=2592000",
    // Opened as a page, it is one.
    "Content-Security-Policy": "default-src 'none'; style-src 'none'; sandbox",
  });
};

function avatar(name: string): string {
  const initials = name
    .split(/[^\p{L}\p{N}]+/u)
    .flatMap((word) => [...word][0] ?? [])
    .slice(0, 2)
    .join("")
    .toUpperCase();
  const colour = COLOURS[Number(Bun.hash(name) % BigInt(COLOURS.length))];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96"><rect width="96" height="96" fill="${colour}"/><text x="48" y="61" font-family="ui-sans-serif, system-ui, sans-serif" font-size="38" font-weight="600" fill="#fff" text-anchor="middle">${Bun.escapeHTML(initials)}</text></svg>`;
}
