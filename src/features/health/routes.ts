import { Hono } from "hono";
import { TimedOut } from "../../db/bounded-pool.ts";
import type { Migration } from "../../db/migration-steps.ts";
import { missingMigrations } from "../../db/migrations.ts";
import type { Database } from "../../db/pool.ts";
import { PROBE_TIMEOUT_MS } from "../../db/probe.ts";
import { describeRoute } from "../../http/openapi.ts";
import { jsonOf } from "../../http/validation.ts";
import { HealthResponse, LiveResponse, type ReadyCheck, ReadyResponse } from "./schema.ts";

export type HealthOptions = {
  migrations: readonly Migration[];
  /** Whether the server is stopping, and finishes the requests in flight. */
  isDraining: () => boolean;
};

export function healthRoutes(db: Database, { migrations, isDraining }: HealthOptions) {
  return new Hono()
    .get(
      "/health",
      async (c) => {
        try {
          await db.probe();
        } catch {
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
        const state = db.probe();
        const checks = await Promise.all([
          check("draining", async () => (isDraining() ? "the server is stopping" : undefined)),
          check("database", async () => {
            await state;
            return undefined;
          }),
          check("migrations", async () => {
            const missing = missingMigrations((await state).migrations, migrations);
            return missing.length === 0 ? undefined : `not applied: ${missing.join(", ")}`;
          }),
          check("writable", async () => ((await state).isReadOnly ? "the database is read-only" : undefined)),
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
          "For load balancers. Returns 503 if the database is unreachable or read-only, if migrations are missing, or while the server shuts down. Load does not make a server unready.",
        responses: { 200: ReadyResponse, 503: ReadyResponse },
      }),
    );
}

/** @param run returns the problem, as public text; an error that it throws is not shown */
async function check(name: ReadyCheck["name"], run: () => Promise<string | undefined>): Promise<ReadyCheck> {
  const started = performance.now();
  const error = await run().catch((reason: unknown) =>
    reason instanceof TimedOut ? `no response within ${PROBE_TIMEOUT_MS.toLocaleString("en")} ms` : "failed",
  );
  const duration_ms = Math.round((performance.now() - started) * 1000) / 1000;
  return error === undefined ? { name, status: "ok", duration_ms } : { name, status: "error", duration_ms, error };
}
