import { Hono } from "hono";
import type { Database } from "../../db/pool.ts";
import { describeRoute } from "../../http/openapi.ts";
import { json } from "../../http/validation.ts";
import { listTags, type TagList } from "./queries.ts";
import { TagsResponse } from "./schema.ts";

export function tagRoutes(db: Database) {
  let known: TagList | undefined;
  return new Hono().get(
    "/tags",
    async (c) => {
      known = await listTags(db, known);
      return json(c, Buffer.concat([OPEN, known.json, CLOSE]));
    },
    describeRoute({
      operationId: "GetTags",
      tag: "Tags",
      summary: "List tags",
      description: "The tags that articles use, the most used first.",
      responses: { 200: TagsResponse, 304: null },
    }),
  );
}

const OPEN = Buffer.from('{"tags":');
const CLOSE = Buffer.from("}");
