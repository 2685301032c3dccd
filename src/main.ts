#!/usr/bin/env -S bun --no-env-file
import { writeSync } from "node:fs";
import { runCommandLine } from "./cli/command-line.ts";
import { StartupError } from "./config/startup-error.ts";
import { exitOnSignals } from "./server/signals.ts";

exitOnSignals();
try {
  await runCommandLine(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  // Not by the console, whose output `serve` logs.
  writeSync(2, `${error.message}\n`);
  process.exit(1);
}
