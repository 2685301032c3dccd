import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { networkList } from "../http/client-address.ts";
import type { DatabaseAddress } from "./database-address.ts";

// How the values of settings are written. Each function makes the value of what was written, or throws an `Error` whose
// message is the rest of a sentence that begins with the setting's name.

/** A secret that no log, JSON or error message can print by accident. */
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

export const DAY_MS = 24 * 3600 * 1000;

export function nonEmpty(written: string): string {
  if (written.trim() === "") throw new Error("must not be empty");
  return written;
}

export function wholeNumber(min: number, max: number) {
  return (written: string): number => {
    const value = Number(written);
    if (!/^[0-9]+$/.test(written) || value < min || value > max) {
      throw new Error(`must be a whole number from ${min} to ${max}, not ${JSON.stringify(written)}`);
    }
    return value;
  };
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS };

/** Milliseconds, written as a number with a unit: 500ms, 5s, 15m, 24h, 30d. */
export function duration(minMs: number, maxMs: number) {
  return (written: string): number => {
    const [, amount, unit] = /^([0-9]+(?:\.[0-9]+)?) *(ms|s|m|h|d)$/.exec(written.trim()) ?? [];
    const ms = Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
    if (!(ms >= minMs && ms <= maxMs)) {
      throw new Error(
        `must be a time from ${minMs}ms to ${maxMs / 1000}s, such as 500ms, 5s, 15m, 24h or 30d, not ${JSON.stringify(written)}`,
      );
    }
    return ms;
  };
}

export function oneOf<const Choice extends string>(...choices: Choice[]) {
  return (written: string): Choice => {
    const choice = choices.find((candidate) => candidate === written);
    if (choice === undefined) throw new Error(`must be one of ${choices.join(", ")}, not ${JSON.stringify(written)}`);
    return choice;
  };
}

export function origins(written: string): "*" | string[] {
  if (written.trim() === "*") return "*";
  return written.split(",").map((part) => {
    const origin = part.trim();
    // A * within an origin is no pattern: it would match nothing.
    if (!URL.canParse(origin) || new URL(origin).origin !== origin.toLowerCase() || origin.includes("*")) {
      throw new Error(`must be * or origins such as https://example.com, not ${JSON.stringify(origin)}`);
    }
    return new URL(origin).origin;
  });
}

export function networks(written: string): string[] {
  if (written.trim() === "none") return [];
  const list = written.split(",").map((part) => part.trim());
  networkList(list);
  return list;
}

export function webAddress(written: string): string {
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if ((url?.protocol !== "http:" && url?.protocol !== "https:") || `${url.username}${url.password}${url.hash}` !== "") {
    throw new Error(`must be an address such as https://conduit.example, not ${JSON.stringify(written)}`);
  }
  return url.href.replace(/\/$/, "");
}

/** Its text never goes into a message: it holds a password. */
export function smtpUrl(written: string): string {
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if ((url?.protocol !== "smtp:" && url?.protocol !== "smtps:") || url.hostname === "") {
    throw new Error("must be smtp://user:password@host:port or smtps://user:password@host:port");
  }
  if (url.search !== "" || (url.pathname !== "" && url.pathname !== "/")) throw new Error("must end with the port");
  percentDecoded(url.username);
  percentDecoded(url.password);
  return written;
}

export function httpUrl(written: string): string {
  if (!URL.canParse(written) || !/^https?:$/.test(new URL(written).protocol)) {
    throw new Error("must be a URL such as http://localhost:4318");
  }
  return written;
}

const TLS_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;

/** The parts of a `postgres://` URL. Its text never goes into a message: it holds a password. */
export function databaseAddress(written: string): DatabaseAddress {
  if (!URL.canParse(written)) throw new Error("must be a URL such as postgres://user:password@host:5432/database");
  const url = new URL(written);
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw new Error("must begin with postgres:// or postgresql://");
  }
  const known = ["sslmode", "sslrootcert", "host"];
  const unknown = [...url.searchParams.keys()].filter((key) => !known.includes(key));
  if (unknown.length > 0) throw new Error(`has parameters other than ${known.join(", ")}: ${unknown.join(", ")}`);
  const tls = oneOfTls(url.searchParams.get("sslmode") ?? "prefer");
  const caFile = url.searchParams.get("sslrootcert");
  if (caFile !== null) readable(caFile);
  // libpq's way to name a Unix socket: ?host=/var/run/postgresql
  const socketDir = url.searchParams.get("host");
  if (socketDir !== null && !isAbsolute(socketDir))
    throw new Error("has a host parameter that is not a socket's folder");
  const port = Number(url.port || 5432);
  const database = percentDecoded(url.pathname.slice(1));
  if (database === "") throw new Error("must name a database: postgres://user:password@host:5432/database");
  return {
    hostname: url.hostname.replace(/^\[|\]$/g, "") || "localhost",
    port,
    ...(socketDir === null ? {} : { socketPath: `${socketDir}/.s.PGSQL.${port}` }),
    username: percentDecoded(url.username) || "postgres",
    password: percentDecoded(url.password),
    database,
    tls,
    ...(caFile === null ? {} : { tlsCaFile: caFile }),
  };
}

function percentDecoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Error("has a % that is not followed by two hexadecimal digits of UTF-8 (write % itself as %25)");
  }
}

function oneOfTls(written: string): DatabaseAddress["tls"] {
  const mode = TLS_MODES.find((candidate) => candidate === written);
  if (mode === undefined) throw new Error(`has an sslmode other than ${TLS_MODES.join(", ")}`);
  return mode;
}

function readable(file: string): void {
  try {
    readFileSync(file);
  } catch {
    throw new Error(`has an sslrootcert that cannot be read: ${file}`);
  }
}
