#!/usr/bin/env bun
import { parseArgs } from "node:util";
import { migrations } from "../migrations/index.ts";
import packageJson from "../package.json" with { type: "json" };
import { backup, restore } from "./commands/backup.ts";
import { type Config, loadConfig, SETTINGS } from "./config.ts";
import { createLog } from "./platform/log.ts";
import { migrate } from "./platform/migrations.ts";
import { StartupError } from "./platform/startup-error.ts";
import { reachDatabase, startServer } from "./server.ts";

/** `operand` is what has to stand behind the command's name. */
type Command = { what: string; operand?: string; run(config: Config, operand: string): Promise<void> };

const COMMANDS: Record<string, Command> = {
  serve: { what: "Start the API (npm start)", run: serve },
  migrate: { what: "Bring the database schema up to date, and exit", run: migrateOnly },
  backup: { what: "Write everything into one file, also while the server runs", operand: "FILE", run: backup },
  restore: { what: "Read such a file into an empty data folder or database", operand: "FILE", run: restore },
};

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  console.error(error.message);
  process.exit(1);
}

async function run(args: string[]): Promise<void> {
  const flags = Object.values(SETTINGS).flatMap((setting) => ("flag" in setting ? [setting.flag] : []));
  const { values, positionals } = parse(args, flags);
  if (values.help) return console.log(help());
  if (values.version) return console.log(packageJson.version);
  const [name = "serve", ...rest] = positionals;
  const command = COMMANDS[name];
  const operands = command?.operand === undefined ? 0 : 1;
  if (command !== undefined && rest.length < operands) {
    throw new StartupError(`It is: conduit ${name} ${command.operand}. See: conduit --help`);
  }
  if (command === undefined || rest.length > operands) {
    throw new StartupError(`There is no command "${positionals.join(" ")}". See: conduit --help`);
  }
  const given: Record<string, string> = {};
  for (const [flag, value] of Object.entries(values)) if (typeof value === "string") given[flag] = value;
  await command.run(loadConfig(process.env, given), rest[0] ?? "");
}

function parse(
  args: string[],
  flags: string[],
): { values: Record<string, string | boolean | undefined>; positionals: string[] } {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "v" },
        ...Object.fromEntries(flags.map((flag) => [flag, { type: "string" as const }])),
      },
    });
  } catch (error) {
    throw new StartupError(`${(error as Error).message.split(". ")[0]}. See: conduit --help`);
  }
}

async function serve(config: Config): Promise<void> {
  const server = await startServer(config, console.log);
  console.log(`Server is running on ${server.url}`);
  let asked = false;
  const stop = async () => {
    // Asked twice: now.
    if (asked) process.exit(1);
    asked = true;
    console.log("Stopping …");
    await server.stop();
    process.exit(0);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  if (process.env.npm_lifecycle_event !== undefined) onOrphaned(stop);
}

/**
 * npm answers a signal by ending the shell that it started us with, and the shell does not pass the signal on: what we
 * see of it is that our parent is gone.
 */
function onOrphaned(stop: () => void): void {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    stop();
  }, 100);
  watch.unref();
}

async function migrateOnly(config: Config): Promise<void> {
  const database = await reachDatabase(config, console.log, createLog(config.logLevel));
  try {
    const applied = await migrate(database.address, migrations, config.databaseConnectTimeoutMs);
    for (const file of applied) console.log(`Applied migration ${file}`);
    console.log("The schema is up to date.");
  } finally {
    await database.release();
  }
}

function help(): string {
  const commands = Object.entries(COMMANDS).map(
    ([name, { what, operand = "" }]) => `  ${`${name} ${operand}`.padEnd(14)} ${what}`,
  );
  const settings = Object.values(SETTINGS).map(
    (setting) =>
      `  ${("flag" in setting ? `--${setting.flag}` : "").padEnd(28)} ${setting.name.padEnd(28)} ${setting.what}${"fallback" in setting ? ` [${setting.fallback}]` : ""}`,
  );
  return `Usage: conduit [command] [flags]

Commands:
${commands.join("\n")}

Settings, by flag or environment variable:
${settings.join("\n")}

  -h, --help     This text
  -v, --version  The version`;
}
