import { z } from "zod";
import { text } from "../../../http/fields.ts";

export const RefreshBody = z
  .object(
    { refresh_token: text(1_000).refine((value) => value !== "", "can't be blank") },
    { error: "must be an object" },
  )
  .meta({ id: "RefreshRequest" });

export const TokenPair = z
  .object({
    access_token: z.string().meta({ description: "For the `Authorization` header" }),
    refresh_token: z.string().meta({ description: "For `POST /api/auth/refresh`, once" }),
  })
  .meta({ id: "TokenPair" });

export const SessionId = z.uuid();

/** A session, as its owner sees it. */
const Session = z
  .object({
    id: SessionId,
    device: z.string().meta({ description: "Made from the user agent that signed in" }),
    ip: z.string().nullable(),
    created_at: z.iso.datetime({ precision: 3 }),
    last_used_at: z.iso.datetime({ precision: 3 }).meta({ description: "When it was last refreshed" }),
    current: z.boolean().meta({ description: "Whether it is the one that asks" }),
  })
  .meta({ id: "Session" });

export const SessionsResponse = z.object({ sessions: z.array(Session) }).meta({ id: "SessionsResponse" });

export const MessageResponse = z.object({ message: z.string() }).meta({ id: "MessageResponse" });
