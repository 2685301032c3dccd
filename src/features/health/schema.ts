import { z } from "zod";

export const HealthResponse = z
  .object({
    status: z.enum(["ok", "error"]),
    message: z.string(),
    database: z.enum(["connected", "disconnected"]),
  })
  .meta({ id: "HealthResponse" });

export const LiveResponse = z.object({ status: z.literal("ok") }).meta({ id: "LiveResponse" });

const ReadyCheck = z.object({
  name: z.enum(["draining", "database", "migrations", "writable"]),
  status: z.enum(["ok", "error"]),
  duration_ms: z.number(),
  error: z.string().optional().meta({ description: "Why the check failed" }),
});
export type ReadyCheck = z.infer<typeof ReadyCheck>;

export const ReadyResponse = z
  .object({
    status: z.enum(["ok", "degraded", "error"]).meta({
      description:
        "`degraded` is an outage of the database that has just begun, in which requests may wait for its end",
    }),
    checks: z.array(ReadyCheck),
  })
  .meta({ id: "ReadyResponse" });
export type ReadyResponse = z.infer<typeof ReadyResponse>;
