import { z } from "zod";

export const WelcomeResponse = z
  .object({
    name: z.literal("conduit"),
    version: z.string(),
    documentation: z.string(),
    openapi: z.string(),
    health: z.string(),
  })
  .meta({ id: "WelcomeResponse" });
