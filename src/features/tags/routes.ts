import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { query } from "../../http/validation.ts";
import type { SharedReads } from "../profiles/shared-reads.ts";
import { listTags } from "./queries.ts";
import { TagsQuery, TagsResponse } from "./schema.ts";

export function tagRoutes(db: Database, shared: SharedReads) {
  return new Hono().get(
    "/tags",
    query(TagsQuery),
    (c) => {
      const filters = c.var.query;
      return shared.respond(c, `tags ${JSON.stringify([filters.q, filters.limit])}`, () => listTags(db, filters));
    },
    describeRoute({
      operationId: "GetTags",
      tag: "Tags",
      summary: "List tags",
      description:
        "The tags that articles use, the most used first. Without `q`, these are at most the 900 most used and the 100 most recently used.",
      responses: { 200: TagsResponse, 304: null },
    }),
  );
}
