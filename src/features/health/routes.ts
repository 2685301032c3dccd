import { Hono } from "hono";
import { type Migration, missingMigrations } from "../../db/migrations.ts";
import type { Database } from "../../db/pool.ts";
import { ApiError } from "../../http/errors.ts";
import { describeRoute } from "../../http/openapi.ts";
import { jsonOf } from "../../http/validation.ts";
import { HealthResponse, LiveResponse, type ReadyCheck, ReadyResponse } from "./schema.ts";

export type HealthOptions = {
  migrations: readonly Migration[];
  /** Whether the server has been told to stop, and finishes what it has. */
  isDraining: () => boolean;
};

/** A check that takes longer has failed: whoever asks has a patience of its own, often of a second or three. */
const CHECK_TIMEOUT_MS = 2_000;

export function healthRoutes(db: Database, { migrations, isDraining }: HealthOptions) {
  return new Hono()
    .get(
      "/health",
      async (c) => {
        try {
          await db.ping();
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          c.header("Retry-After", "1");
          return jsonOf(c, { status: "error", message: "Server is running", database: "disconnected" }, 503);
        }
        return jsonOf(c, { status: "ok", message: "Server is running", database: "connected" });
      },
      describeRoute({
        operationId: "GetHealth",
        tag: "Operations",
        summary: "Check the health of server and database",
        description: "Returns 503 if the server cannot reach the database.",
        responses: { 200: HealthResponse, 503: HealthResponse },
      }),
    )

    .get(
      "/health/live",
      (c) => jsonOf(c, { status: "ok" }),
      describeRoute({
        operationId: "GetHealthLive",
        tag: "Operations",
        summary: "Check that the process responds",
        description:
          "For process managers. It does not check the database, because restarting the server does not repair a database.",
        responses: { 200: LiveResponse },
      }),
    )

    .get(
      "/health/ready",
      async (c) => {
        const checks = await Promise.all([
          check("draining", async () => (isDraining() ? "the server is stopping" : undefined)),
          check("database", async () => {
            await db.ping();
            return undefined;
          }),
          check("migrations", async () => {
            const missing = await missingMigrations(db, migrations);
            return missing.length === 0 ? undefined : `not applied: ${missing.join(", ")}`;
          }),
        ]);
        const isReady = checks.every(({ status }) => status === "ok");
        if (!isReady) c.header("Retry-After", "1");
        return jsonOf(c, { status: isReady ? "ok" : "error", checks }, isReady ? 200 : 503);
      },
      describeRoute({
        operationId: "GetHealthReady",
        tag: "Operations",
        summary: "Check that the server is ready for requests",
        description:
          "For load balancers. Returns 503 if the database is unreachable, if migrations are missing, or while the server shuts down.",
        responses: { 200: ReadyResponse, 503: ReadyResponse },
      }),
    );
}

/** @param run returns what is wrong, in words that anybody may read; what it throws is told to nobody */
async function check(name: ReadyCheck["name"], run: () => Promise<string | undefined>): Promise<ReadyCheck> {
  const started = performance.now();
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, CHECK_TIMEOUT_MS, `no response within ${CHECK_TIMEOUT_MS.toLocaleString("en")} ms`);
  const error = await Promise.race([run().catch(() => "failed"), late]);
  clearTimeout(timer);
  const duration_ms = Math.round((performance.now() - started) * 1000) / 1000;
  return error === undefined ? { name, status: "ok", duration_ms } : { name, status: "error", duration_ms, error };
}
