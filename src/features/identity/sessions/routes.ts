import { type Context, Hono } from "hono";
import type { Database } from "../../../db/pool.ts";
import { describeRoute } from "../../../http/openapi.ts";
import { body, jsonOf } from "../../../http/validation.ts";
import type { IdentityContext } from "../context.ts";
import type { Guards } from "../guards.ts";
import {
  type Client,
  endOtherSessions,
  endSession,
  invalidRefreshToken,
  listSessions,
  logOut,
  type OpenedSession,
  refreshSession,
} from "./queries.ts";
import { deviceLabel } from "./rules.ts";
import { MessageResponse, RefreshBody, SessionId, SessionsResponse, TokenPair } from "./schema.ts";

export function sessionRoutes(db: Database, context: IdentityContext, { requireUser }: Guards) {
  const { revocations, sessionLimits, addressOf, mail, limits } = context;
  return new Hono()
    .post(
      "/auth/refresh",
      body(RefreshBody),
      limits.limit("refresh"),
      async (c) => {
        const { refresh_token } = c.var.body;
        const outcome = await refreshSession(db, refresh_token, addressOf(c), sessionLimits, mail.isEnabled);
        if ("reused" in outcome) {
          revocations.add([outcome.reused]);
          throw invalidRefreshToken("has been used before, so its session was ended");
        }
        return jsonOf(c, tokenPair(context, outcome.session));
      },
      describeRoute({
        operationId: "RefreshSession",
        tag: TAG,
        summary: "New tokens",
        description:
          "A refresh token is good once. Within 20 s it may come again, by a client that lost the answer; the pair of the answer before is worth nothing then. Later, it ends the session.",
        answers: { 200: TokenPair },
        errors: ["unauthorized"],
      }),
    )

    .post(
      "/auth/logout",
      body(RefreshBody),
      async (c) => {
        revocations.add(await logOut(db, c.var.body.refresh_token));
        return jsonOf(c, { message: "Logged out" });
      },
      describeRoute({
        operationId: "LogOut",
        tag: TAG,
        summary: "End the session of a refresh token",
        description: "Its access tokens end with it. A token that is unknown or ended already is no error.",
        answers: { 200: MessageResponse },
      }),
    )

    .get(
      "/auth/sessions",
      requireUser,
      async (c) => {
        return jsonOf(c, { sessions: await listSessions(db, c.var.userId, c.var.sessionId) });
      },
      describeRoute({
        operationId: "GetSessions",
        tag: TAG,
        summary: "Where one is signed in",
        answers: { 200: SessionsResponse },
      }),
    )

    .delete(
      "/auth/sessions",
      requireUser,
      async (c) => {
        revocations.add(await endOtherSessions(db, c.var.userId, c.var.sessionId));
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "EndOtherSessions",
        tag: TAG,
        summary: "End all other sessions",
        answers: { 204: null },
      }),
    )

    .delete(
      "/auth/sessions/:id",
      requireUser,
      async (c) => {
        revocations.add([await endSession(db, c.var.userId, c.req.param("id"))]);
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "EndSession",
        tag: TAG,
        summary: "End a session",
        answers: { 204: null },
        errors: ["not_found"],
        params: { id: SessionId },
      }),
    );
}

const TAG = "Sessions";

/** The tokens of a session, as a response has them. */
export function tokenPair({ tokens }: IdentityContext, { userId, sessionId, refreshToken }: OpenedSession) {
  return { access_token: tokens.issue(userId, sessionId), refresh_token: refreshToken };
}

/** The client of a request that opens a session. */
export function clientOf({ addressOf }: IdentityContext, c: Context): Client {
  return { device: deviceLabel(c.req.header("User-Agent")), ip: addressOf(c) };
}
