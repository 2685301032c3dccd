import { type Context, Hono } from "hono";
import { accepts } from "hono/accepts";
import packageJson from "../../../package.json" with { type: "json" };
import { describeRoute, type openApiDocument } from "../../http/openapi.ts";
import { json, jsonOf } from "../../http/validation.ts";
import { conduitDocument } from "./document.ts";
import { docsPage, type Page, welcomePage } from "./pages.ts";
import { WelcomeResponse } from "./schema.ts";

const { version } = packageJson;
const tag = "Documentation";

/** @param routes every route of the application, asked for at the first request */
export function docsRoutes(routes: () => Parameters<typeof openApiDocument>[1]) {
  const once = <Value>(make: () => Value): (() => Value) => {
    let made: { value: Value } | undefined;
    return () => {
      made ??= { value: make() };
      return made.value;
    };
  };
  const document = once(() => JSON.stringify(conduitDocument(routes())));
  const docs = once(docsPage);
  const welcome = once(() => welcomePage(version));
  const respond = (c: Context, { html, headers }: Page): Response => c.body(html, 200, headers);

  return new Hono()
    .get(
      "/",
      (c) => {
        c.header("Vary", "Accept", { append: true });
        const supports = ["application/json", "text/html"];
        if (accepts(c, { header: "Accept", supports, default: "application/json" }) === "text/html") {
          return respond(c, welcome());
        }
        const links = { documentation: "/docs", openapi: "/openapi.json", health: "/health" };
        return jsonOf(c, { name: "conduit", version, ...links });
      },
      describeRoute({
        operationId: "GetWelcome",
        tag,
        summary: "What this is, and where to go",
        answers: { 200: [WelcomeResponse, "text/html"] },
      }),
    )

    .get(
      "/docs",
      (c) => respond(c, docs()),
      describeRoute({
        operationId: "GetDocs",
        tag,
        summary: "This document, to read and to try",
        answers: { 200: "text/html" },
      }),
    )

    .get(
      "/openapi.json",
      (c) => json(c, document()),
      describeRoute({
        operationId: "GetOpenApi",
        tag,
        summary: "This document",
        answers: { 200: "application/json" },
      }),
    )

    .get(
      "/robots.txt",
      // An API has nothing to be found by; a search engine that follows its links is load alone.
      (c) => c.text("User-agent: *\nDisallow: /\n"),
      describeRoute({
        operationId: "GetRobots",
        tag,
        summary: "For search engines: nothing here",
        answers: { 200: "text/plain" },
      }),
    );
}
