import { fstatSync, writeSync } from "node:fs";

/** Field names are dotted, with units at their end; undefined fields are left out. An error goes under `err`. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

export type LogOptions = {
  /** JSON lines for programs, or lines for a person at a terminal. */
  readonly format: "json" | "pretty";
  /** Writes whole lines. Standard output by default. */
  readonly write: (lines: string) => void;
  /** In every line: `{ worker: 2 }`. */
  readonly base: Record<string, string | number>;
};

const LEVELS = ["debug", "info", "warn", "error"] as const;

/** The longest line, in bytes. A pipe takes so much whole (POSIX, PIPE_BUF), so the lines of several processes never mix. */
const LINE_MAX = 4_096;
/** How many characters of lines are collected. */
const COLLECTED_MAX = 32 * 1_024;
const FLUSH_AFTER_MS = 100;

/**
 * A log of whole lines. They are collected and written every 100 ms, or sooner if there are many. Warnings, errors and
 * pretty lines are written at once, and the rest when the process exits, by itself, on a signal that it handles or after
 * an uncaught error. docs/decisions says why this is not a library.
 */
export function createLog(level: LogLevel, options: Partial<LogOptions> = {}): Log & { flush(): void } {
  const { format = "json", write = writeToStdout, base = {} } = options;
  const render = format === "json" ? jsonLine : prettyLine;
  const prefix = Object.keys(base).length === 0 ? "" : `${JSON.stringify(base).slice(1, -1)},`;
  let buffered = "";
  let timer: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (buffered === "") return;
    const lines = buffered;
    buffered = "";
    write(lines);
  }

  const at = (name: (typeof LEVELS)[number]) => {
    if (level === "silent" || LEVELS.indexOf(name) < LEVELS.indexOf(level)) return () => {};
    const isUrgent = format === "pretty" || name === "warn" || name === "error";
    return (fields: object, message: string): void => {
      const line = render(name, fields, message, prefix);
      if (buffered.length + line.length > COLLECTED_MAX) flush();
      buffered += line;
      if (isUrgent) flush();
      else timer ??= setTimeout(flush, FLUSH_AFTER_MS).unref();
    };
  };
  process.on("exit", flush);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), flush };
}

function jsonLine(level: string, fields: object, message: string, prefix: string): string {
  const render = (rest: object): string => {
    const members = JSON.stringify(rest).slice(1);
    return `{"time":"${now()}","level":"${level}",${prefix}"msg":${JSON.stringify(message)}${members === "}" ? "" : ","}${members}\n`;
  };
  const err = "err" in fields ? fields.err : undefined;
  if (err === undefined) {
    const line = render(fields);
    return line.length <= LINE_MAX ? line : render({ truncated: true });
  }
  for (const frames of [10, 4, 1, 0]) {
    const line = render({ ...fields, err: describeError(err, frames) });
    if (Buffer.byteLength(line) <= LINE_MAX) return line;
  }
  return render({ truncated: true });
}

function prettyLine(level: string, fields: object, message: string): string {
  const colour = { debug: 90, info: 32, warn: 33, error: 31 }[level] ?? 0;
  const { err, ...rest } = fields as Record<string, unknown>;
  const present = Object.entries(rest).filter(([, value]) => value !== undefined);
  const shown = present.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const error = err === undefined ? "" : `\n${JSON.stringify(describeError(err, 10), null, 2)}`;
  return `\x1b[90m${now().slice(11, 23)}\x1b[0m \x1b[${colour}m${level.toUpperCase().padEnd(5)}\x1b[0m ${message} \x1b[90m${shown.join(" ")}\x1b[0m${error}\n`;
}

let second = 0;
let secondText = "";

/** RFC 3339, in UTC, with milliseconds. The part that changes once a second is formatted once a second. */
function now(): string {
  const ms = Date.now();
  const thisSecond = Math.floor(ms / 1000);
  if (thisSecond !== second) {
    second = thisSecond;
    secondText = new Date(thisSecond * 1000).toISOString().slice(0, 20);
  }
  return `${secondText}${String(ms % 1000).padStart(3, "0")}Z`;
}

type ErrorFields = { type: string; message: string; [field: string]: unknown };

/** How many errors of a chain of causes are logged. */
const CAUSES_MAX = 5;

/**
 * An error with its causes. Of a driver's error, only the fields that name things: the detail of a violated constraint
 * and the context of a statement hold values of rows, which may be somebody's email address.
 */
export function describeError(error: unknown, frames: number, depth = 1): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error, message: safeMessage(String(error), undefined) };
  const { code, errno, constraint, table, column, routine } = error as Error & Record<string, unknown>;
  const stack = frames === 0 ? undefined : stackOf(error, frames);
  const named = Object.entries({ code, errno, constraint, table, column, routine }).filter(
    ([, value]) => (typeof value === "string" && value !== "") || typeof value === "number",
  );
  return {
    type: error.name,
    message: safeMessage(error.message, errno),
    ...Object.fromEntries(named),
    ...(stack === undefined ? {} : { stack }),
    ...(error.cause === undefined || depth === CAUSES_MAX
      ? {}
      : { cause: describeError(error.cause, frames, depth + 1) }),
  };
}

/** PostgreSQL quotes values in its errors of class 22, data exceptions; a parser quotes what it cannot parse. */
function safeMessage(message: string, sqlState: unknown): string {
  const isAboutData = (typeof sqlState === "string" && sqlState.startsWith("22")) || /JSON/.test(message);
  return (isAboutData ? message.replace(/(["'`]).*\1/gs, "$1…$1") : message).slice(0, 500);
}

/** The frames without the message that the stack begins with. */
function stackOf(error: Error, frames: number): string[] | undefined {
  const lines = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return lines.length === 0 ? undefined : lines.slice(0, frames).map((line) => line.trim().slice(3));
}

/**
 * Blocks while the reader is slow, as a pipe does. If the reader is gone, the lines are lost and the server goes on. A pipe
 * gets as many whole lines at once as it takes whole, a file gets all.
 */
function writeToStdout(lines: string): void {
  writeMax ??= isPipe(1) ? LINE_MAX : Number.POSITIVE_INFINITY;
  // A character has three bytes at most.
  let rest = lines.length * 3 <= block.byteLength ? block.subarray(0, block.write(lines)) : Buffer.from(lines);
  let tries = 0;
  while (rest.byteLength > 0) {
    const end = rest.byteLength <= writeMax ? rest.byteLength : rest.lastIndexOf("\n", writeMax - 1) + 1;
    try {
      rest = rest.subarray(writeSync(1, rest, 0, end > 0 ? end : Math.min(rest.byteLength, writeMax)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || ++tries > 1_000) return;
      Bun.sleepSync(1);
    }
  }
}

/** Used again for each write, because a new one each time would cost more than the write. */
const block = Buffer.allocUnsafeSlow(COLLECTED_MAX * 3);

/** The most that is written at once, in bytes. */
let writeMax: number | undefined;

function isPipe(fd: number): boolean {
  const kind = fstatSync(fd);
  return kind.isFIFO() || kind.isSocket();
}
