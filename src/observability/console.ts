import type { Log } from "./log.ts";

const METHODS = ["log", "info", "debug", "warn", "error", "trace"] as const;

/**
 * Makes lines of the log of what libraries write to the console, and of the process's warnings. Database drivers and the job
 * queue do that now and then, and what reads the log expects JSON.
 */
export function logConsole(log: Log): void {
  for (const method of METHODS) {
    console[method] = (...values: unknown[]) =>
      log.warn({ "console.method": method, ...textOf(values) }, "library output");
  }
  process.emitWarning = (warning: string | Error) =>
    log.warn({ "console.method": "emitWarning", ...textOf([warning]) }, "library output");
}

/** Texts without email addresses, and the first error. Objects are left out, as they may hold anything. */
function textOf(values: unknown[]): { "console.text": string; err?: object } {
  const texts = values.filter((value) => typeof value !== "object" && typeof value !== "function").map(String);
  const error = values.find((value) => value instanceof Error);
  return {
    "console.text": texts
      .join(" ")
      .replace(/\S+@\S+/g, "…")
      .slice(0, 500),
    ...(error === undefined ? {} : { err: error }),
  };
}
