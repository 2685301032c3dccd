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
  const { revocations, limits } = context;
  return new Hono()
    .post(
      "/auth/refresh",
      limits.limit("refresh"),
      body(RefreshBody),
      async (c) => {
        const session = await refreshByRequest(c, db, context, c.var.body.refresh_token);
        return jsonOf(c, tokenPair(context, session));
      },
      describeRoute({
        operationId: "RefreshSession",
        tag: TAG,
        summary: "Refresh a session",
        description:
          "Returns a new access token and a new refresh token. A refresh token works once. A client that lost the response, or another tab of the browser, can repeat the request within 20 seconds and gets the same refresh token. Any later reuse ends the session.",
        responses: { 200: TokenPair },
        errors: ["unauthorized"],
      }),
    )

    .post(
      "/auth/logout",
      body(RefreshBody),
      async (c) => {
        revocations.add(await logOut(db, c.var.body.refresh_token));
        return jsonOf(c, { message: "Signed out" });
      },
      describeRoute({
        operationId: "LogOut",
        tag: TAG,
        summary: "Sign out",
        description:
          "Ends the session of a refresh token and revokes its access tokens. An unknown or expired refresh token is not an error.",
        responses: { 200: MessageResponse },
      }),
    )

    .get(
      "/auth/sessions",
      requireUser,
      async (c) => {
        return jsonOf(c, { sessions: await listSessions(db, c.var) });
      },
      describeRoute({
        operationId: "GetSessions",
        tag: TAG,
        summary: "List your sessions",
        description: "The devices on which the current user is signed in.",
        responses: { 200: SessionsResponse },
      }),
    )

    .delete(
      "/auth/sessions",
      requireUser,
      async (c) => {
        revocations.add(await endOtherSessions(db, c.var));
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "EndOtherSessions",
        tag: TAG,
        summary: "End all other sessions",
        description: "Signs the current user out everywhere except in the session of this request.",
        responses: { 204: null },
      }),
    )

    .delete(
      "/auth/sessions/:id",
      requireUser,
      async (c) => {
        revocations.add([await endSession(db, c.var, c.req.param("id"))]);
        return c.body(null, 204);
      },
      describeRoute({
        operationId: "EndSession",
        tag: TAG,
        summary: "End a session",
        description: "Signs the current user out on one device. Revokes the access tokens of that session.",
        responses: { 204: null },
        errors: ["not_found"],
        params: { id: SessionId },
      }),
    );
}

const TAG = "Sessions";

/** Exchanges a refresh token, as the API and the pages do. The guard has counted the request. Throws 401. */
export async function refreshByRequest(
  c: Context,
  db: Database,
  { successorOf, revocations, sessionLimits, addressOf, mail }: IdentityContext,
  refreshToken: string,
): Promise<OpenedSession> {
  const outcome = await refreshSession(db, successorOf, refreshToken, addressOf(c), sessionLimits, mail.isEnabled);
  if ("session" in outcome) return outcome.session;
  revocations.add([outcome.reused]);
  throw invalidRefreshToken("has been used before, so its session was ended");
}

/** The tokens of a session, as a response has them. */
export function tokenPair({ tokens }: IdentityContext, { userId, sessionId, refreshToken, accessTtlS }: OpenedSession) {
  return { access_token: tokens.issue(userId, sessionId, accessTtlS), refresh_token: refreshToken };
}

/** The client of a request that opens a session. */
export function clientOf({ addressOf }: IdentityContext, c: Context): Client {
  return { device: deviceLabel(c.req.header("User-Agent")), ip: addressOf(c) };
}
