import { z } from "zod";
import { text } from "../platform/fields.ts";

export const RefreshBody = z.object(
  { refresh_token: text(1_000).refine((value) => value !== "", "can't be blank") },
  { error: "must be an object" },
);
