import pino from "pino";

export type Log = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

/** JSON lines on standard output. Field names are dotted, with units at their end. */
export function createLog(level: "debug" | "info" | "warn" | "error" | "silent"): Log {
  return pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
  });
}
