import type { SessionJson, TestResponse, TestServer, TestUser } from "./harness.ts";
import { untilWaiting } from "./locks.ts";
import { linkIn, type TestSmtp } from "./mail.ts";

/** The subjects of mails, or a part of them. */
export const VERIFY_SUBJECT = "Verify your email address";
export const RESET_SUBJECT = "Choose a new password";
export const PASSWORD_CHANGED_SUBJECT = "Your password was changed";
export const EMAIL_CHANGED_SUBJECT = "Your email address was changed";
export const SESSION_ENDED_SUBJECT = "A device was signed out";

/** The requests to register, log in, verify an address and reset a password. */
export function identityRequests(server: TestServer) {
  const post = (path: string, body: unknown, token?: string): Promise<TestResponse> =>
    server.request("POST", path, { body, token });
  let users = 0;
  return {
    post,
    newUser: (): Promise<TestUser> => server.register(`user-${++users}`),
    login: (email: string, password: string, headers: Record<string, string> = {}): Promise<TestResponse> =>
      server.request("POST", "/api/users/login", { body: { user: { email, password } }, headers }),
    refresh: (refresh_token: unknown) => post("/api/auth/refresh", { refresh_token }),
    logOut: (user: TestUser) => post("/api/auth/logout", { refresh_token: user.refreshToken }),
    verify: (token: string) => post("/api/auth/verify-email", { token }),
    resend: (user: TestUser) => post("/api/auth/resend-verification", undefined, user.token),
    forgot: (email: string) => post("/api/auth/forgot-password", { email }),
    reset: (token: string, new_password = "a brand new horse") =>
      post("/api/auth/reset-password", { token, new_password }),
    update: (user: TestUser, changes: object): Promise<TestResponse> =>
      server.request("PUT", "/api/user", { token: user.token, body: { user: changes } }),
    /** Submits the form of a page. */
    submit: (path: string, fields: Record<string, string>): Promise<TestResponse> =>
      server.request("POST", path, {
        body: new URLSearchParams(fields).toString(),
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      }),
    current: (token: string): Promise<TestResponse> => server.request("GET", "/api/user", { token }),
    sessions: async (token: string): Promise<SessionJson[]> =>
      (await server.request("GET", "/api/auth/sessions", { token })).json.sessions,
    isVerified: async (user: TestUser): Promise<boolean> =>
      (await server.request("GET", "/api/user", { token: user.token })).json.user.email_verified,
  };
}

/** The link of the next mail to this address whose subject has these words. */
export async function linkTo(smtp: TestSmtp, email: string, subject: string): Promise<{ path: string; token: string }> {
  return linkIn(await smtp.take(email, subject));
}

/**
 * Holds the lock on the row of a user, so that a test can decide in which order requests of that user proceed.
 * @returns `waiting(n)` resolves when n statements wait for a lock; `release` lets them proceed in the order of their arrival
 */
export async function holdUser(server: TestServer, user: TestUser) {
  const connection = await server.sql.reserve();
  await connection`begin`;
  await connection`select from users where email = ${user.email} for no key update`;
  const release = async () => {
    await connection`commit`;
    connection.release();
  };
  return {
    release,
    waiting: (count: number): Promise<void> => untilWaiting(server.sql, count),
  };
}
