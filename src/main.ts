#!/usr/bin/env -S bun --no-env-file
import { writeSync } from "node:fs";
import { runCommandLine } from "./cli/command-line.ts";
import { StartupError } from "./config/startup-error.ts";
import { databaseMessage } from "./db/errors.ts";
import { exitOnSignals } from "./server/signals.ts";

exitOnSignals();
try {
  await runCommandLine(process.argv.slice(2));
} catch (error) {
  const message = error instanceof StartupError ? error.message : databaseMessage(error);
  if (message === undefined) throw error;
  // Not by the console, whose output `serve` logs.
  writeSync(2, `${message}\n`);
  process.exit(1);
}
