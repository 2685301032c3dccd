import { type Context, Hono } from "hono";
import { z } from "zod";
import type { Database } from "../../db/pool.ts";
import { listSitemap, listSitemapPages, SITEMAP_PAGE_SIZE } from "../../features/articles/sitemap.ts";
import { notFound } from "../../http/errors.ts";
import { describeRoute } from "../../http/openapi.ts";
import { query } from "../../http/validation.ts";
import { compressed, respondWithRendered } from "../rendered.ts";
import { siteOf } from "../requests.ts";
import { type LinkSettings, linksOf } from "./links.ts";
import { writeXml } from "./xml.ts";

const SitemapQuery = z.object({
  page: z
    .string()
    .regex(/^[0-9]{1,9}$/, "must be a whole number from 0")
    .transform(Number)
    .optional()
    .meta({
      wire: { type: "integer", minimum: 0 },
      description: "Which page of articles. Without it, the response is the index of the pages",
    }),
});

/**
 * The addresses of all articles for search engines: https://www.sitemaps.org/protocol.html. The pages have the path of the
 * index, as a sitemap may only list addresses below its own folder.
 */
export function sitemapRoutes(db: Database, settings: LinkSettings, baseUrl: string | undefined) {
  async function readIndex(c: Context): Promise<string> {
    const self = `${siteOf(c, baseUrl)}/sitemap.xml`;
    const pages = await listSitemapPages(db);
    const sitemap = pages.map(({ page, updatedAt }) => addressOf(`${self}?page=${page}`, updatedAt));
    return writeXml({ sitemapindex: { "@xmlns": NAMESPACE, sitemap } });
  }

  async function readPage(c: Context, page: number): Promise<string> {
    const links = linksOf(settings, siteOf(c, baseUrl));
    const articles = await listSitemap(db, page);
    // A sitemap lists something.
    if (articles.length === 0) throw notFound("page");
    const url = articles.map(({ slug, updatedAt }) => addressOf(links.article(slug), updatedAt));
    return writeXml({ urlset: { "@xmlns": NAMESPACE, url } });
  }

  return new Hono().get(
    "/sitemap.xml",
    query(SitemapQuery),
    async (c) => {
      const { page } = c.var.query;
      const xml = page === undefined ? await readIndex(c) : await readPage(c, page);
      return respondWithRendered(c, compressed(xml, { "Content-Type": "application/xml; charset=utf-8" }));
    },
    describeRoute({
      operationId: "GetSitemap",
      tag: "Feeds",
      summary: "Read the sitemap",
      description: `The addresses of all articles for search engines: an index of pages, which have at most ${SITEMAP_PAGE_SIZE.toLocaleString("en")} addresses each.`,
      responses: { 200: "application/xml", 304: null },
      errors: ["not_found"],
    }),
  );
}

const NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9";

const addressOf = (loc: string, updatedAt: Date) => ({ loc, lastmod: updatedAt.toISOString() });
