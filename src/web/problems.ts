import type { Context } from "hono";
import { ApiError } from "../http/errors.ts";

/** What is wrong with a form, as sentences to show above it, and the status of that page. */
export type Problems = { readonly status: number; readonly texts: string[] };

/** The names of fields as people know them. */
const LABELS: Readonly<Record<string, string>> = {
  username: "The username",
  email: "The email address",
  password: "The password",
  currentPassword: "The current password",
  bio: "The text about you",
  image: "The address of the picture",
  title: "The title",
  description: "The description",
  body: "The text",
  tagList: "The list of tags",
  q: "The search",
  tag: "The tag",
  author: "The author",
  publishAt: "The time of publication",
  requests: "Requests",
  "Idempotency-Key": "The form",
  server: "The server",
};

/** The problems that a person can do something about. Throws all other errors again, such as that of a missing article. */
export function problemsOf(c: Context, error: unknown): Problems {
  if (!(error instanceof ApiError)) throw error;
  if (error.errors.credentials !== undefined) {
    return { status: 422, texts: ["The email address or the password is wrong."] };
  }
  if (!SHOWN.has(error.code)) throw error;
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
  const texts = Object.entries(error.errors).flatMap(([field, problems]) =>
    problems.map((problem) => `${LABELS[field] ?? `“${field}”`} ${problem}.`),
  );
  return { status: error.status, texts };
}

const SHOWN: ReadonlySet<string> = new Set(["invalid", "conflict", "too_many_requests", "too_large", "unavailable"]);
