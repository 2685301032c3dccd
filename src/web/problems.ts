import { ApiError } from "../http/errors.ts";

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
  requests: "Requests",
  server: "The server",
};

/**
 * What a person can do something about, as sentences to show above the form again. Undefined for everything else, such as an
 * article that does not exist.
 */
export function problemsOf(error: unknown): string[] | undefined {
  if (!(error instanceof ApiError)) return undefined;
  if (error.errors.credentials !== undefined) return ["The email address or the password is wrong."];
  if (!SHOWN.has(error.code)) return undefined;
  return Object.entries(error.errors).flatMap(([field, problems]) =>
    problems.map((problem) => `${LABELS[field] ?? `“${field}”`} ${problem}.`),
  );
}

const SHOWN: ReadonlySet<string> = new Set(["invalid", "conflict", "too_many_requests", "too_large", "unavailable"]);
