#!/usr/bin/env -S bun --no-env-file
import { runCommandLine } from "./cli/command-line.ts";
import { StartupError } from "./config/startup-error.ts";
import { exitOnSignals } from "./server/signals.ts";

exitOnSignals();
try {
  await runCommandLine(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  console.error(error.message);
  process.exit(1);
}
