import { Hono } from "hono";
import type { Database } from "../platform/database.ts";
import { json } from "../platform/http.ts";
import { listTags, type TagList } from "./queries.ts";

export function tagRoutes(db: Database) {
  let known: TagList | undefined;
  return new Hono().get("/tags", async (c) => {
    known = await listTags(db, known);
    return json(c, Buffer.concat([OPEN, known.json, CLOSE]));
  });
}

const OPEN = Buffer.from('{"tags":');
const CLOSE = Buffer.from("}");
