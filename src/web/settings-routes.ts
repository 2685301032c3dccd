import { type Context, Hono } from "hono";
import { resendByRequest } from "../features/identity/email-verification/routes.ts";
import { endOtherSessions, endSession, listSessions } from "../features/identity/sessions/queries.ts";
import { updateByRequest } from "../features/identity/users/actions.ts";
import { UpdateUserBody } from "../features/identity/users/schema.ts";
import { parse, readFields } from "../http/validation.ts";
import { show, type WebContext } from "./app.ts";
import type { WithUser } from "./browser-session.ts";
import { textOf } from "./fields.ts";
import { settingsPage } from "./pages/settings.tsx";
import { profilePath } from "./parts/people.tsx";
import { type Problems, problemsOf } from "./problems.ts";
import { redirectTo, sameOriginForms } from "./requests.ts";

/** Profile, password, email and devices of the signed-in user. */
export function settingsRoutes(web: WebContext) {
  const { db, identity, sessions } = web;
  const sameOrigin = sameOriginForms(web.baseUrl);

  async function showSettings(
    c: Context<WithUser>,
    again?: { values: { username: string; email: string; bio: string; image: string }; problems: Problems },
  ): Promise<Response> {
    const { viewer: user } = c.var;
    const { username, email, bio, image } = user;
    const props = {
      values: again?.values ?? { username, email, bio: bio ?? "", image: image ?? "" },
      user,
      sessions: await listSessions(db, c.var),
      asksForPassword: identity.requireCurrentPassword,
      sendsMail: identity.mail.isEnabled,
      isSent: c.req.query("sent") !== undefined,
      problems: again?.problems.texts ?? [],
    };
    return show(c, web, settingsPage, props, { status: again?.problems.status ?? 200, isPersonal: true });
  }

  return new Hono()
    .get("/settings", sessions.requireViewer, (c) => showSettings(c))

    .post("/settings", sameOrigin, sessions.requireViewer, async (c) => {
      const fields = await readFields(c.req.raw);
      const text = (name: string) => textOf(fields, name);
      const values = { username: text("username"), email: text("email"), bio: text("bio"), image: text("image") };
      try {
        const { user } = parse(UpdateUserBody, { user: { ...values, ...passwordsIn(fields) } }, "user");
        const { username } = await updateByRequest(c, db, identity, c.var, user);
        return redirectTo(c, profilePath(username));
      } catch (error) {
        return showSettings(c, { values, problems: problemsOf(c, error) });
      }
    })

    .post("/settings/verification", sameOrigin, sessions.requireSession, async (c) => {
      await identity.limits.count(c, "resend", c.var.userId);
      await resendByRequest(c, db, identity, c.var);
      return redirectTo(c, "/settings?sent=1");
    })

    .post("/settings/sessions/end-others", sameOrigin, sessions.requireSession, async (c) => {
      identity.revocations.add(await endOtherSessions(db, c.var));
      return redirectTo(c, "/settings");
    })

    .post("/settings/sessions/:id/end", sameOrigin, sessions.requireSession, async (c) => {
      identity.revocations.add([await endSession(db, c.var, c.req.param("id"))]);
      return redirectTo(c, "/settings");
    });
}

/** The passwords that were typed. An empty field means that the password stays. */
function passwordsIn(fields: URLSearchParams): { password?: string; currentPassword?: string } {
  const [password, currentPassword] = [textOf(fields, "password"), textOf(fields, "currentPassword")];
  return { ...(password === "" ? {} : { password }), ...(currentPassword === "" ? {} : { currentPassword }) };
}
