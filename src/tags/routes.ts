import { Hono } from "hono";
import type { Database } from "../platform/database.ts";
import { json } from "../platform/http.ts";
import { describeRoute } from "../platform/openapi.ts";
import { listTags } from "./queries.ts";
import { TagsResponse } from "./schema.ts";

export function tagRoutes(db: Database) {
  return new Hono().get(
    "/tags",
    async (c) => json(c, `{"tags":${await listTags(db)}}`),
    describeRoute({
      operationId: "GetTags",
      tag: "Tags",
      summary: "The tags in use, most used first",
      answers: { 200: TagsResponse },
    }),
  );
}
