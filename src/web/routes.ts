import { type Context, Hono } from "hono";
import type { ApiError } from "../http/errors.ts";
import { show, type WebContext } from "./app.ts";
import { articleRoutes } from "./article-routes.ts";
import { toSignIn } from "./browser-session.ts";
import { editorRoutes } from "./editor-routes.ts";
import { homeRoutes } from "./home-routes.ts";
import { type Explanation, errorPage } from "./pages/error.tsx";
import { profileRoutes } from "./profile-routes.ts";
import { refererPath, wantsPage } from "./requests.ts";
import { revisionRoutes } from "./revision-routes.ts";
import { settingsRoutes } from "./settings-routes.ts";
import { signInRoutes } from "./sign-in-routes.ts";

/** The app for browsers. It has pages for what the API offers, and calls the same query functions. */
export function webRoutes(web: WebContext) {
  return new Hono()
    .route("/", homeRoutes(web))
    .route("/", articleRoutes(web))
    .route("/", profileRoutes(web))
    .route("/", editorRoutes(web))
    .route("/", revisionRoutes(web))
    .route("/", settingsRoutes(web))
    .route("/", signInRoutes(web));
}

/** An error as a page; undefined for clients that want none, and for the API. */
export function errorPageFor(c: Context, web: WebContext, error: ApiError): Response | undefined {
  if (!wantsPage(c) || c.req.path.startsWith("/api/")) return undefined;
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
  if (error.code === "unauthorized") {
    // The session ended, and this server has not heard of it yet.
    web.sessions.forget(c);
    return toSignIn(c, refererPath(c));
  }
  const explanation = EXPLANATIONS[error.code] ?? EXPLANATIONS.bad_request;
  return show(c, web, errorPage, explanation, { status: error.status });
}

const EXPLANATIONS: { [Code in ApiError["code"]]?: Explanation } & { bad_request: Explanation } = {
  bad_request: { title: "This did not work", text: "The server cannot understand the request. Go back and try again." },
  forbidden: {
    title: "This is not yours to change",
    text: "Only its author can do that, in a form on a page of this site.",
  },
  not_found: {
    title: "Page not found",
    text: "There is nothing at this address. It may have been deleted.",
  },
  gone: { title: "This article was deleted", text: "Its author has deleted it." },
  too_large: { title: "This is too large", text: "Go back, shorten the text, and try again." },
  too_many_requests: { title: "Too many requests", text: "Wait a few minutes, then try again." },
  internal: { title: "Something went wrong", text: "The server had an unexpected error. Try again in a minute." },
  unavailable: { title: "The server is busy", text: "Try again in a minute." },
};
