import { readFileSync } from "node:fs";
import { StartupError } from "./startup-error.ts";

/**
 * Adds the variables of a `.env` file to the environment. Those that are set already stay. No file is no error.
 * @throws StartupError for a file that cannot be read, and for the first line that is not a variable; never with a value
 */
export function loadEnvFile(file: string, env: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(parseEnv(readText(file), file))) env[name] ??= value;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return "";
    throw new StartupError(`Cannot read ${file}: ${message}`);
  }
}

/** A name and what follows the equals sign. */
const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[^\S\n]*/;
/** A value in quotes, which may contain line breaks, with nothing but a comment behind it. */
const SINGLE_QUOTED = /^'([^']*)'(?:[^\S\n]+#.*)?$/;
const DOUBLE_QUOTED = /^"((?:[^"\\]|\\.)*)"(?:[^\S\n]+#.*)?$/s;
const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", "\\": "\\", '"': '"', $: "$" };

/**
 * The variables of a `.env` file. Bun and the usual packages read `$` as a reference and any `#` as a comment, and so
 * shorten secrets silently. Here `$` stands for itself everywhere, as nothing is expanded, and `#` begins a comment only
 * at the start of a line or after white space, outside quotes. A value in single quotes is literal. In double quotes,
 * `\n`, `\r`, `\t`, `\\`, `\"` and `\$` are escapes. What has quotes at one end only, or text behind them, is an error.
 */
export function parseEnv(text: string, file: string): Record<string, string> {
  const variables: Record<string, string> = {};
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const start = i;
    const line = lines[i] ?? "";
    if (/^\s*(#|$)/.test(line)) continue;
    const [before, name] = ASSIGNMENT.exec(line) ?? [];
    if (before === undefined || name === undefined) throw problem(file, start, "is not NAME=value");
    let rest = line.slice(before.length).trimEnd();
    const quote = rest[0];
    if (quote !== "'" && quote !== '"') {
      // With the white space before it, as a # without any is part of the value.
      variables[name] = line
        .slice(before.trimEnd().length)
        .replace(/\s#.*$/, "")
        .trim();
      continue;
    }
    const pattern = quote === "'" ? SINGLE_QUOTED : DOUBLE_QUOTED;
    // A value that is not closed on its line continues on the next ones.
    while (!isClosed(rest, quote) && i + 1 < lines.length) rest += `\n${lines[++i]}`;
    const value = pattern.exec(rest.trimEnd())?.[1];
    if (value === undefined) throw problem(file, start, `has ${quote} without its end, or text behind the end`);
    variables[name] = quote === "'" ? value : value.replace(/\\(.)/gs, (all, char: string) => ESCAPES[char] ?? all);
  }
  return variables;
}

/** Whether a text that begins with a quote contains its end. */
const isClosed = (text: string, quote: string): boolean =>
  quote === "'" ? text.indexOf("'", 1) > 0 : /^"(?:[^"\\]|\\.)*"/s.test(text);

const problem = (file: string, index: number, text: string): StartupError =>
  new StartupError(`${file}, line ${index + 1}: ${text}. .env.example describes the syntax.`);
