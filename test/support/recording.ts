import type { AppOptions } from "../../src/server/app.ts";

type Line = { level: string; message: string; fields: Record<string, unknown> };

/** A log that keeps its lines. */
export function recordingLog(): { log: AppOptions["log"]; lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, message, fields: fields as Record<string, unknown> });
  return { log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }, lines };
}
