import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { json } from "../../http/validation.ts";
import { listTags } from "./queries.ts";
import { TagsResponse } from "./schema.ts";

export function tagRoutes(db: Database) {
  return new Hono().get(
    "/tags",
    async (c) => json(c, { tags: await listTags(db) }),
    describeRoute({
      operationId: "GetTags",
      tag: "Tags",
      summary: "List tags",
      description: "The tags that articles use, the most used first.",
      responses: { 200: TagsResponse, 304: null },
    }),
  );
}
