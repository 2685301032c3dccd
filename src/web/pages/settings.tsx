import type { Session } from "../../features/identity/sessions/schema.ts";
import type { UserRow } from "../../features/identity/users/queries.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { Field, Problems, TextArea } from "../parts/form.tsx";
import { PostDate } from "../parts/people.tsx";

type SettingsProps = {
  frame: Frame;
  /** What is in the form: as it is stored, or as it was typed. */
  values: { username: string; email: string; bio: string; image: string };
  user: UserRow;
  sessions: readonly Session[];
  /** Whether a new password or address needs the current password. */
  asksForPassword: boolean;
  /** Whether this server can send emails. */
  sendsMail: boolean;
  /** Whether a verification link was just sent. */
  isSent: boolean;
  problems?: readonly string[];
};

export function settingsPage(props: SettingsProps): Page {
  const { frame, values, user, sessions, asksForPassword, sendsMail, isSent, problems } = props;
  return (
    <Layout title="Settings" frame={frame} path="/settings" width="settings">
      <h1>Settings</h1>
      <Problems problems={problems} />
      <form method="post" action="/settings">
        <Field
          name="image"
          label="Picture"
          value={values.image}
          placeholder="https://example.com/me.jpg"
          hint="The address of a picture on the web"
          maxlength={2_048}
        />
        <Field name="username" label="Username" value={values.username} autocomplete="nickname" required />
        <TextArea name="bio" label="About you" value={values.bio} rows={4} maxlength={1_000} />
        <Field name="email" label="Email" type="email" value={values.email} autocomplete="username" required />
        <Field
          name="password"
          label="New password"
          type="password"
          autocomplete="new-password"
          minlength={8}
          hint="Leave it empty to keep your password. A new one signs you out on all other devices."
        />
        {asksForPassword ? (
          <Field
            name="currentPassword"
            label="Current password"
            type="password"
            autocomplete="current-password"
            hint="Needed for a new password or email address"
          />
        ) : null}
        <button class="btn btn-primary" type="submit">
          Update Settings
        </button>
      </form>
      {user.email_verified ? null : <Unverified email={user.email} sendsMail={sendsMail} isSent={isSent} />}
      <Devices sessions={sessions} />
      <form class="sign-out" method="post" action="/logout">
        <button class="btn btn-outline-danger" type="submit">
          Or click here to logout
        </button>
      </form>
    </Layout>
  );
}

function Unverified({ email, sendsMail, isSent }: { email: string; sendsMail: boolean; isSent: boolean }) {
  return (
    <section aria-labelledby="verify">
      <h2 id="verify">Verify your email address</h2>
      <p class="muted">
        {isSent ? "A new link is on its way to " : "Use the link that was sent to "}
        {email}.
      </p>
      {sendsMail && !isSent ? (
        <form method="post" action="/settings/verification">
          <button class="btn btn-sm" type="submit">
            Send a new link
          </button>
        </form>
      ) : null}
    </section>
  );
}

function Devices({ sessions }: { sessions: readonly Session[] }) {
  return (
    <section aria-labelledby="devices">
      <h2 id="devices">Your devices</h2>
      <ul class="list">
        {sessions.map((session) => (
          <li class="device">
            <div>
              <strong>{session.device}</strong>
              <span class="muted">
                {session.current ? "This device" : null}
                {session.current ? null : (
                  <>
                    Last used on <PostDate iso={session.last_used_at} />
                  </>
                )}
                {session.ip === null ? null : ` · ${session.ip}`}
              </span>
            </div>
            {session.current ? null : (
              <form method="post" action={`/settings/sessions/${session.id}/end`}>
                <button class="btn btn-sm" type="submit" aria-label={`Sign out ${session.device}`}>
                  Sign out
                </button>
              </form>
            )}
          </li>
        ))}
      </ul>
      {sessions.length < 2 ? null : (
        <form method="post" action="/settings/sessions/end-others">
          <button class="btn btn-sm" type="submit">
            Sign out all other devices
          </button>
        </form>
      )}
    </section>
  );
}
