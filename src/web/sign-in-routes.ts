import { type Context, Hono } from "hono";
import type { OpenedSession } from "../features/identity/sessions/queries.ts";
import { registerByRequest, signInByRequest } from "../features/identity/users/actions.ts";
import { LoginBody, NewUserBody } from "../features/identity/users/schema.ts";
import { parse, readFields } from "../http/validation.ts";
import { show, type WebContext } from "./app.ts";
import { textOf } from "./fields.ts";
import { registerPage, signInPage } from "./pages/sign-in.tsx";
import { problemsOf } from "./problems.ts";
import { localPath, redirectTo, sameOriginForms } from "./requests.ts";

/** Signing in, up and out. */
export function signInRoutes(web: WebContext) {
  const { db, identity, sessions } = web;
  const { limits } = identity;
  const sameOrigin = sameOriginForms(web.baseUrl);

  function enter(c: Context, session: OpenedSession, next: string | undefined): Response {
    sessions.open(c, session);
    return redirectTo(c, next ?? "/");
  }

  return new Hono()
    .get("/login", sessions.optionalViewer, (c) => show(c, web, signInPage, { next: localPath(c.req.query("next")) }))

    .post("/login", sameOrigin, async (c) => {
      const fields = await readFields(c.req.raw);
      const [email, password] = [textOf(fields, "email"), textOf(fields, "password")];
      const next = localPath(textOf(fields, "next"));
      try {
        await limits.count(c, "login");
        const { user } = parse(LoginBody, { user: { email, password } }, "user");
        const { session } = await signInByRequest(c, db, identity, user);
        return enter(c, session, next);
      } catch (error) {
        const { status, texts } = problemsOf(c, error);
        return show(c, web, signInPage, { next, email, problems: texts }, { status, isPersonal: true });
      }
    })

    .get("/register", sessions.optionalViewer, (c) =>
      show(c, web, registerPage, { next: localPath(c.req.query("next")) }),
    )

    .post("/register", sameOrigin, async (c) => {
      const fields = await readFields(c.req.raw);
      const [username, email] = [textOf(fields, "username"), textOf(fields, "email")];
      const next = localPath(textOf(fields, "next"));
      try {
        await limits.count(c, "register");
        const typed = { username, email, password: textOf(fields, "password") };
        const { user } = parse(NewUserBody, { user: typed }, "user");
        const { session } = await registerByRequest(c, db, identity, user);
        return enter(c, session, next);
      } catch (error) {
        const { status, texts } = problemsOf(c, error);
        return show(c, web, registerPage, { next, username, email, problems: texts }, { status, isPersonal: true });
      }
    })

    .post("/logout", sameOrigin, async (c) => {
      await sessions.end(c);
      return redirectTo(c, "/");
    });
}
