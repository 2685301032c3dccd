import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { networkList } from "./networks.ts";

// Parsers of settings. Each returns the value for a text, or throws an `Error` whose message completes a sentence that
// begins with the setting's name: "PORT" + "must be a whole number …".

/** A secret that cannot end up in a log, JSON or error message by accident. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return "[secret]";
  }
  toJSON(): string {
    return "[secret]";
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "[secret]";
  }
}

/** The words of examples and of secrets that people make up. */
const USUAL_WORDS =
  /super|secret|password|token|jwt|key|sample|example|random|string|default|development|production|insert|your|my|here|qwerty(?:uiop)?|asdfgh(?:jkl)?|zxcvbn(?:m)?|[-_ .]/gi;

/** Throws for a secret that somebody could guess: a placeholder, usual words, a sequence, or few characters many times. */
export function requireStrong(secret: string): void {
  const isPlaceholder = /change|replace|placeholder/i.test(secret) || secret.replace(USUAL_WORDS, "").length < 20;
  // The shortest part whose repetition is the whole text, such as 10 characters for 0123456789012345…
  const period = [...secret].findIndex((_, i) => i > 0 && secret.startsWith(secret.slice(i)));
  const units = [...secret].map((character) => character.codePointAt(0) ?? 0);
  const steps = units.map((unit, i) => unit - (units[i - 1] ?? 0));
  const isSequence = [1, -1].some((step) => steps.filter((one) => one === step).length > units.length / 2);
  const isFew = new Set(secret).size < 8;
  if (isPlaceholder || isFew || isSequence || (period > 0 && period <= secret.length / 2)) {
    throw new Error("is easy to guess: create one with openssl rand -base64 48");
  }
}

export const DAY_MS = 24 * 3600 * 1000;

export function nonEmpty(text: string): string {
  if (text.trim() === "") throw new Error("must not be empty");
  return text;
}

export function wholeNumber(min: number, max: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value < min || value > max) {
      throw new Error(`must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`);
    }
    return value;
  };
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS };

/** A time in milliseconds, from a number with a unit: 500ms, 5s, 15m, 24h, 30d. */
export function duration(minMs: number, maxMs: number) {
  return (text: string): number => {
    const [, amount, unit] = /^([0-9]+(?:\.[0-9]+)?) *(ms|s|m|h|d)$/.exec(text.trim()) ?? [];
    const ms = Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
    if (!(ms >= minMs && ms <= maxMs)) {
      throw new Error(
        `must be a duration from ${minMs}ms to ${maxMs / 1000}s, such as 500ms, 5s, 15m, 24h or 30d, not ${JSON.stringify(text)}`,
      );
    }
    return ms;
  };
}

/** A number in a time, such as 100/10m: at most `max`, in 1 s to 30 days. */
export function rate(max: number) {
  return (text: string): { readonly max: number; readonly windowS: number } => {
    const [amount = "", time = "", ...rest] = text.split("/");
    if (rest.length > 0 || time === "")
      throw new Error(`must be a number and a time, such as 100/10m, not ${JSON.stringify(text)}`);
    return { max: wholeNumber(1, max)(amount.trim()), windowS: Math.ceil(duration(1_000, 30 * DAY_MS)(time) / 1000) };
  };
}

export function oneOf<const Choice extends string>(...choices: Choice[]) {
  return (text: string): Choice => {
    const choice = choices.find((candidate) => candidate === text);
    if (choice === undefined) throw new Error(`must be one of ${choices.join(", ")}, not ${JSON.stringify(text)}`);
    return choice;
  };
}

export function origins(text: string): "*" | string[] {
  if (text.trim() === "*") return "*";
  return text.split(",").map((part) => {
    const origin = part.trim();
    // An origin with * is not a pattern: it would match no page.
    if (!URL.canParse(origin) || new URL(origin).origin !== origin.toLowerCase() || origin.includes("*")) {
      throw new Error(`must be * or origins such as https://example.com, not ${JSON.stringify(origin)}`);
    }
    return new URL(origin).origin;
  });
}

export function networks(text: string): string[] {
  if (text.trim() === "none") return [];
  const list = text.split(",").map((part) => part.trim());
  networkList(list);
  return list;
}

/** Host names in lower case, without ports. */
export function hostNames(text: string): string[] {
  if (text.trim() === "none") return [];
  return text.split(",").map((part) => {
    const name = part.trim().toLowerCase();
    if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name)) {
      throw new Error(
        `must be host names such as conduit.example, without ports, or none, not ${JSON.stringify(name)}`,
      );
    }
    return name;
  });
}

/** The path of a PEM file that can be read and has a certificate. */
export function certificateFile(text: string): string {
  const file = filePath(text);
  let content: string;
  try {
    content = readFileSync(file, "utf8");
  } catch {
    throw new Error(`must be a file that can be read, not ${JSON.stringify(text)}`);
  }
  if (!content.includes("-----BEGIN CERTIFICATE-----"))
    throw new Error(`must be a PEM file with certificates, not ${JSON.stringify(text)}`);
  return file;
}

/** The URL of a server, perhaps with a path, without a slash at its end. */
export function webAddress(text: string): string {
  const url = new URL(pageAddress(text));
  if (url.search !== "" || url.hash !== "")
    throw new Error(`must have nothing after the path: ${JSON.stringify(text)}`);
  return url.href.replace(/\/$/, "");
}

/** The URL of a page. It may be a hash route, such as `https://app.example/#/verify`. */
export function pageAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if ((url?.protocol !== "http:" && url?.protocol !== "https:") || `${url.username}${url.password}` !== "") {
    throw new Error(`must be a URL such as https://conduit.example, not ${JSON.stringify(text)}`);
  }
  return url.href;
}

/** A path with one place for a value, such as `/article/{slug}`. */
export function pathPattern(name: string): (text: string) => string {
  const place = `{${name}}`;
  return (text) => {
    const rest = text.split(place);
    // With a space or a quotation mark it would be no address, with a second slash one of another server.
    if (rest.length !== 2 || !/^\/(?!\/)[\w\-.~/#?=&%:@!$'()*+,;]*$/.test(rest.join(""))) {
      throw new Error(`must be a path with ${place}, such as /${name}/${place}`);
    }
    return text;
  };
}

/** Messages never quote the text, as it contains a password. */
export function smtpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if ((url?.protocol !== "smtp:" && url?.protocol !== "smtps:") || url.hostname === "") {
    throw new Error("must be smtp://user:password@host:port or smtps://user:password@host:port");
  }
  if (url.search !== "" || (url.pathname !== "" && url.pathname !== "/"))
    throw new Error("must have nothing after the port");
  percentDecoded(url.username);
  percentDecoded(url.password);
  return text;
}

export function httpUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new Error("must be a URL such as http://localhost:4318");
  }
  return text;
}

/** Decodes a part of a URL. Messages never quote the text, as it may be a password. */
export function percentDecoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Error("has an invalid percent-encoding (write % as %25)");
  }
}

/**
 * The absolute path of a file or folder. Expands `~/`, as a shell does only in some places: not in `.env`, in a compose file
 * or after `--data-dir=`.
 */
export function filePath(text: string): string {
  if (!text.startsWith("~")) return resolve(nonEmpty(text));
  if (text !== "~" && !text.startsWith("~/")) {
    throw new Error(`must be a path without the name of a user after ~, not ${JSON.stringify(text)}`);
  }
  return join(homedir(), text.slice(1));
}
