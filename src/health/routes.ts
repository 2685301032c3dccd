import { Hono } from "hono";
import type { Database } from "../platform/database.ts";
import { ApiError } from "../platform/errors.ts";
import { describeRoute } from "../platform/openapi.ts";
import { HealthResponse } from "./schema.ts";

export function healthRoutes(db: Database) {
  return new Hono().get(
    "/health",
    async (c) => {
      try {
        await db.ping();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        c.header("Retry-After", "1");
        return c.json({ status: "error", message: "Server is running", database: "disconnected" }, 503);
      }
      return c.json({ status: "ok", message: "Server is running", database: "connected" });
    },
    describeRoute({
      operationId: "GetHealth",
      tag: "Operations",
      summary: "Whether server and database run",
      answers: { 200: HealthResponse, 503: HealthResponse },
    }),
  );
}
