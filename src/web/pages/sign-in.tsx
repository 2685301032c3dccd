import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { Field, Problems } from "../parts/form.tsx";

type SignInProps = {
  frame: Frame;
  /** Where to continue. */
  next: string | undefined;
  /** What was typed before, except passwords. */
  email?: string;
  username?: string;
  problems?: readonly string[];
};

export function signInPage({ frame, next, email, problems }: SignInProps): Page {
  return (
    <Layout title="Sign in" description="Sign in to Conduit." frame={frame} path="/login" width="narrow">
      <h1>Sign in</h1>
      <Problems problems={problems} />
      <form method="post" action="/login">
        <Next path={next} />
        <Field name="email" label="Email" type="email" value={email} autocomplete="username" required autofocus />
        <Field name="password" label="Password" type="password" autocomplete="current-password" required />
        <button class="btn btn-primary" type="submit">
          Sign in
        </button>
      </form>
      <p class="muted">
        <a class="link" href="/forgot-password">
          Forgot your password?
        </a>
      </p>
      <p class="muted">
        New here?{" "}
        <a class="link" href={withNext("/register", next)}>
          Create an account
        </a>
      </p>
    </Layout>
  );
}

export function registerPage({ frame, next, username, email, problems }: SignInProps): Page {
  return (
    <Layout
      title="Sign up"
      description="Create an account on Conduit to write, follow authors and comment."
      frame={frame}
      path="/register"
      width="narrow"
    >
      <h1>Sign up</h1>
      <Problems problems={problems} />
      <form method="post" action="/register">
        <Next path={next} />
        <Field
          name="username"
          label="Username"
          value={username}
          autocomplete="nickname"
          hint="3 to 50 characters, shown with what you write"
          required
          autofocus
        />
        <Field name="email" label="Email" type="email" value={email} autocomplete="username" required />
        <Field
          name="password"
          label="Password"
          type="password"
          autocomplete="new-password"
          minlength={8}
          hint="At least 8 characters"
          required
        />
        <button class="btn btn-primary" type="submit">
          Sign up
        </button>
      </form>
      <p class="muted">
        Have an account?{" "}
        <a class="link" href={withNext("/login", next)}>
          Sign in
        </a>
      </p>
    </Layout>
  );
}

function Next({ path }: { path: string | undefined }) {
  return path === undefined ? null : <input type="hidden" name="next" value={path} />;
}

const withNext = (path: string, next: string | undefined): string =>
  next === undefined ? path : `${path}?next=${encodeURIComponent(next)}`;
