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
  /** How long an outage of the database does not make the server unready. */
  outageGraceMs: number;
};

export function healthRoutes(db: Database, { migrations, isDraining, outageGraceMs }: HealthOptions) {
  /** When the database was first found away, if it was at the last check, by `performance.now()`. */
  let awaySince: number | undefined;

  /** The servers share a database. If its outage made them all unready, it would also end what they can do meanwhile. */
  function statusOf(checks: readonly ReadyCheck[]): ReadyResponse["status"] {
    const failed = checks.flatMap(({ name, status }) => (status === "ok" ? [] : [name]));
    const isUnreachable = failed.includes("database");
    awaySince = isUnreachable || failed.includes("writable") ? (awaySince ?? performance.now()) : undefined;
    if (failed.length === 0) return "ok";
    // Nothing is known of the migrations in a database that is unreachable.
    const isOutageAlone = !failed.includes("draining") && (isUnreachable || !failed.includes("migrations"));
    const isShort = awaySince !== undefined && performance.now() - awaySince < outageGraceMs;
    return isOutageAlone && isShort ? "degraded" : "error";
  }

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
        const status = statusOf(checks);
        if (status === "error") c.header("Retry-After", "1");
        return jsonOf(c, { status, checks }, status === "error" ? 503 : 200);
      },
      describeRoute({
        operationId: "GetHealthReady",
        tag: "Operations",
        summary: "Check that the server is ready for requests",
        description:
          "For load balancers. Returns 503 if migrations are missing, while the server shuts down, and if the database is unreachable or read-only for longer than `FAILOVER_WAIT` and `STALE_MAX`; until then, `degraded`. Load does not make a server unready.",
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
