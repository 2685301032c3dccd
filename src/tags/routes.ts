import { Hono } from "hono";
import type { Database } from "../platform/database.ts";
import { json } from "../platform/http.ts";
import { listTags } from "./queries.ts";

export function tagRoutes(db: Database) {
  return new Hono().get("/tags", async (c) => json(c, `{"tags":${await listTags(db)}}`));
}
