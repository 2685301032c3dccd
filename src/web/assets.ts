import { readFileSync } from "node:fs";
import type { MiddlewareHandler } from "hono";
import swaggerStyle from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import swaggerScript from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import { respond } from "../http/responses.ts";
import referenceScript from "./assets/api-reference.client.js" with { type: "file" };
import icon from "./assets/icon.svg" with { type: "file" };
import siteStyle from "./assets/site.css" with { type: "file" };

const ASSETS = {
  "site.css": { file: siteStyle, type: "text/css; charset=utf-8" },
  "icon.svg": { file: icon, type: "image/svg+xml" },
  "api-reference.js": { file: referenceScript, type: "text/javascript; charset=utf-8" },
  "swagger-ui.css": { file: swaggerStyle, type: "text/css; charset=utf-8" },
  "swagger-ui.js": { file: swaggerScript, type: "text/javascript; charset=utf-8" },
} as const;

type Asset = (typeof ASSETS)[keyof typeof ASSETS];

/** The path of each asset, and the asset of each path. Read and hashed when the first page needs them. */
let index: { paths: ReadonlyMap<string, string>; assets: ReadonlyMap<string, Asset> } | undefined;

function assetIndex(): NonNullable<typeof index> {
  if (index !== undefined) return index;
  const entries = Object.entries(ASSETS).map(([name, asset]) => {
    const hash = new Bun.CryptoHasher("sha256").update(readFileSync(asset.file)).digest("hex").slice(0, 16);
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
  return respond(c, await Bun.file(asset.file).bytes(), 200, {
    "Content-Type": asset.type,
    "Cache-Control": "public, max-age=31536000, immutable",
  });
};
