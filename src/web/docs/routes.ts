import { Hono } from "hono";
import { accepts } from "hono/accepts";
import packageJson from "../../../package.json" with { type: "json" };
import type { RequestVariables } from "../../http/exchange.ts";
import { describeRoute, type openApiDocument } from "../../http/openapi.ts";
import { respond } from "../../http/responses.ts";
import { jsonOf, jsonText } from "../../http/validation.ts";
import { respondWithPage } from "../page.ts";
import { API_REFERENCE_POLICY, apiReferencePage } from "../pages/api-reference.tsx";
import { welcomePage } from "../pages/welcome.tsx";
import { siteOf } from "../requests.ts";
import { conduitDocument } from "./document.ts";
import { WelcomeResponse } from "./schema.ts";

const { version } = packageJson;
const tag = "Documentation";

type ServedParts = {
  /** Whether the development mailbox is served. */
  readonly hasMailbox: boolean;
  /** Whether the app for browsers is served, which responds to a browser at `/`. */
  readonly hasWeb: boolean;
  /** Whether there are pages with the articles, here or elsewhere. */
  readonly hasSite: boolean;
  /** `BASE_URL` */
  readonly baseUrl: string | undefined;
};

/** @param routes every route of the application; called at the first request for the document */
export function docsRoutes(
  routes: () => Parameters<typeof openApiDocument>[1],
  { hasMailbox, hasWeb, hasSite, baseUrl }: ServedParts,
) {
  let document: string | undefined;
  return new Hono<{ Variables: RequestVariables }>()
    .get(
      "/",
      (c) => {
        c.header("Vary", "Accept", { append: true });
        const supports = ["application/json", "text/html"];
        if (accepts(c, { header: "Accept", supports, default: "application/json" }) === "text/html") {
          return respondWithPage(c, welcomePage({ version, hasMailbox }), { isPublic: true });
        }
        const at = (path: string) => `${c.get("basePath") ?? ""}${path}`;
        const links = { documentation: at("/docs"), openapi: at("/openapi.json"), health: at("/health") };
        return jsonOf(c, { name: "conduit", version, ...links });
      },
      describeRoute({
        operationId: "GetWelcome",
        tag,
        summary: "Get an overview of the API",
        description: "The name and version of the API, and where to find its documentation. Browsers receive a page.",
        responses: { 200: [WelcomeResponse, "text/html"] },
      }),
    )

    .get(
      "/docs",
      (c) => respondWithPage(c, apiReferencePage(), { policy: API_REFERENCE_POLICY, isPublic: true }),
      describeRoute({
        operationId: "GetDocs",
        tag,
        summary: "Read the API reference",
        description: "An HTML page that renders this document.",
        responses: { 200: "text/html" },
      }),
    )

    .get(
      "/openapi.json",
      (c) => {
        document ??= JSON.stringify(conduitDocument(routes(), c.get("basePath")));
        return jsonText(c, document);
      },
      describeRoute({
        operationId: "GetOpenApi",
        tag,
        summary: "Get the OpenAPI document",
        description: "This document, as JSON.",
        responses: { 200: "application/json" },
      }),
    )

    .get(
      "/robots.txt",
      (c) => {
        const rules = hasWeb ? RULES_OF_APP : hasSite ? "Allow: /sitemap.xml\nDisallow: /\n" : "Disallow: /\n";
        const sitemap = hasSite ? `\nSitemap: ${siteOf(c, baseUrl)}/sitemap.xml\n` : "";
        const headers = { "Content-Type": "text/plain; charset=utf-8" };
        return respond(c, `User-agent: *\n${rules}${sitemap}`, 200, headers);
      },
      describeRoute({
        operationId: "GetRobots",
        tag,
        summary: "Get the rules for search engines",
        description:
          "Asks search engines to index articles, lists and profiles, and not the API. It names the sitemap.",
        responses: { 200: "text/plain" },
      }),
    );
}

const RULES_OF_APP = `Disallow: /api/
Disallow: /docs
Disallow: /editor
Disallow: /drafts
Disallow: /settings
`;
