import { Hono } from "hono";
import { json } from "../platform/http.ts";
import { describeRoute, type openApiDocument } from "../platform/openapi.ts";
import { conduitDocument } from "./document.ts";

/** @param routes every route of the application, asked for at the first request */
export function docsRoutes(routes: () => Parameters<typeof openApiDocument>[1]) {
  let document: string | undefined;
  return new Hono().get(
    "/openapi.json",
    (c) => {
      document ??= JSON.stringify(conduitDocument(routes()));
      return json(c, document);
    },
    describeRoute({
      operationId: "GetOpenApi",
      tag: "Documentation",
      summary: "This document",
      answers: { 200: "application/json" },
    }),
  );
}
