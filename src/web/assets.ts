import { readFileSync } from "node:fs";
import type { MiddlewareHandler } from "hono";
import swaggerStyle from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import swaggerScript from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import { respond } from "../http/responses.ts";
import referenceScript from "./assets/api-reference.client.js" with { type: "file" };
import card from "./assets/card.png" with { type: "file" };
import defaultAvatar from "./assets/default-avatar.svg" with { type: "file" };
import icon from "./assets/icon.svg" with { type: "file" };
import siteScript from "./assets/site.client.js" with { type: "file" };
import siteStyle from "./assets/site.css" with { type: "file" };
import { acceptsGzip } from "./requests.ts";

const ASSETS = {
  "site.css": { file: siteStyle, type: "text/css; charset=utf-8" },
  "site.js": { file: siteScript, type: "text/javascript; charset=utf-8" },
  "default-avatar.svg": { file: defaultAvatar, type: "image/svg+xml" },
  "card.png": { file: card, type: "image/png" },
  "icon.svg": { file: icon, type: "image/svg+xml" },
  "api-reference.js": { file: referenceScript, type: "text/javascript; charset=utf-8" },
  "swagger-ui.css": { file: swaggerStyle, type: "text/css; charset=utf-8" },
  "swagger-ui.js": { file: swaggerScript, type: "text/javascript; charset=utf-8" },
} as const;

/** An asset in memory, with its compressed form. */
type Asset = {
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly gzip?: Uint8Array<ArrayBuffer>;
};

/** The path of each asset, and the asset of each path. Read, hashed and compressed when the first page needs them. */
let index: { paths: ReadonlyMap<string, string>; assets: ReadonlyMap<string, Asset> } | undefined;

function assetIndex(): NonNullable<typeof index> {
  if (index !== undefined) return index;
  const entries = Object.entries(ASSETS).map(([name, { file, type }]) => {
    const bytes = readFileSync(file);
    const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);
    const asset = type === "image/png" ? { type, bytes } : { type, bytes, gzip: Bun.gzipSync(bytes) };
    return { name, asset, path: `/assets/${hash}/${name}` };
  });
  index = {
    paths: new Map(entries.map(({ name, path }) => [name, path])),
    assets: new Map(entries.map(({ path, asset }) => [path, asset])),
  };
  return index;
}

/** The URL path of an asset. It contains a hash of the content, so browsers may keep the asset forever. */
export function assetPath(name: keyof typeof ASSETS): string {
  return assetIndex().paths.get(name) as string;
}

/** Serves the assets. Any other path or method is passed on. */
export const serveAssets: MiddlewareHandler = async (c, next) => {
  const asset = assetIndex().assets.get(c.req.path);
  if (asset === undefined || (c.req.method !== "GET" && c.req.method !== "HEAD")) return next();
  const isCompressed = asset.gzip !== undefined && acceptsGzip(c);
  return respond(c, isCompressed ? asset.gzip : asset.bytes, 200, {
    "Content-Type": asset.type,
    "Cache-Control": "public, max-age=31536000, immutable",
    Vary: "Accept-Encoding",
    ...(isCompressed ? { "Content-Encoding": "gzip" } : {}),
  });
};
