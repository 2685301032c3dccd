import { z } from "zod";
import { nonEmptyText } from "../../../http/fields.ts";

export const RefreshBody = z
  .object({ refresh_token: nonEmptyText(1_000) }, { error: "must be an object" })
  .meta({ id: "RefreshRequest" });

export const TokenPair = z
  .object({
    access_token: z.string().meta({ description: "The access token, for the `Authorization` header" }),
    refresh_token: z.string().meta({ description: "The refresh token, for one request to `POST /api/auth/refresh`" }),
  })
  .meta({ id: "TokenPair" });

export const SessionId = z.uuid();

/** A session, as its owner sees it. */
export const Session = z
  .object({
    id: SessionId,
    device: z.string().meta({
      description: "The browser and operating system that started the session, derived from the `User-Agent` header",
    }),
    ip: z.string().nullable(),
    created_at: z.iso.datetime({ precision: 3 }),
    last_used_at: z.iso.datetime({ precision: 3 }).meta({ description: "The time of the last refresh" }),
    current: z.boolean().meta({ description: "Whether this request belongs to the session" }),
  })
  .meta({ id: "Session" });

export type Session = z.output<typeof Session>;

export const SessionsResponse = z.object({ sessions: z.array(Session) }).meta({ id: "SessionsResponse" });

export const MessageResponse = z.object({ message: z.string() }).meta({ id: "MessageResponse" });
