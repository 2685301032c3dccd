import { z } from "zod";

export const HealthResponse = z
  .object({
    status: z.enum(["ok", "error"]),
    message: z.string(),
    database: z.enum(["connected", "disconnected"]),
  })
  .meta({ id: "HealthResponse" });

export const LiveResponse = z.object({ status: z.literal("ok") }).meta({ id: "LiveResponse" });

export const ReadyResponse = z
  .object({
    status: z.enum(["ok", "error"]),
    checks: z.array(
      z.object({
        name: z.string(),
        status: z.enum(["ok", "error"]),
        duration_ms: z.number(),
        error: z.string().optional(),
      }),
    ),
  })
  .meta({ id: "ReadyResponse" });
