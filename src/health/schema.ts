import { z } from "zod";

export const HealthResponse = z
  .object({
    status: z.enum(["ok", "error"]),
    message: z.string(),
    database: z.enum(["connected", "disconnected"]),
  })
  .meta({ id: "HealthResponse" });
