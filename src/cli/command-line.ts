import { parseArgs } from "node:util";
import { loadEnvFile } from "../config/env-file.ts";
import { loadConfig, SETTINGS } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { backup } from "./backup.ts";
import { type Command, usage } from "./command.ts";
import { doctor } from "./doctor.ts";
import { health } from "./health.ts";
import { helpCommand } from "./help.ts";
import { migrate } from "./migrate.ts";
import { restore } from "./restore.ts";
import { seed } from "./seed.ts";
import { serve } from "./serve.ts";
import { version } from "./version.ts";

/** Every command, in the order of `conduit --help`. */
const COMMANDS: readonly Command[] = [
  serve,
  migrate,
  seed,
  backup,
  restore,
  health,
  doctor,
  helpCommand(() => COMMANDS),
  version,
];

/**
 * Runs the command that the arguments name, or `serve` without one.
 * @param args what follows the program's name
 * @throws StartupError for a mistake on the command line, and whatever the command throws
 */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args);
  // `conduit backup FILE --help` is `conduit help backup`.
  const [name = "serve", argument, ...rest] = values.help
    ? ["help", ...positionals.slice(0, 1)]
    : values.version
      ? ["version"]
      : positionals;
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) throw new StartupError(`Unknown command "${name}". See: conduit --help`);
  if (argument === undefined && isRequired(command)) throw new StartupError(`Usage: ${usage(command)}`);
  const extra = command.argument === undefined ? argument : rest[0];
  if (extra !== undefined) throw new StartupError(`Unexpected argument "${extra}". Usage: ${usage(command)}`);
  const flags: Record<string, string> = {};
  for (const [flag, value] of Object.entries(values)) if (typeof value === "string") flags[flag] = value;
  for (const flag of commandFlags()) {
    if (flag in flags && !(flag in (command.flags ?? {}))) {
      throw new StartupError(`The command ${name} has no flag --${flag}. See: conduit help ${name}`);
    }
  }
  const config = () => {
    loadEnvFile(".env", process.env);
    return loadConfig(process.env, flags);
  };
  await command.run({ argument: argument ?? "", flags, config });
}

function parse(args: readonly string[]) {
  const settingFlags = Object.values(SETTINGS).flatMap((setting) => ("flag" in setting ? [setting.flag] : []));
  const options = Object.fromEntries(
    [...settingFlags, ...commandFlags()].map((flag) => [flag, { type: "string" as const }]),
  );
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...options, help: { type: "boolean", short: "h" }, version: { type: "boolean", short: "v" } },
    });
    return { values: values as Record<string, string | boolean | undefined>, positionals };
  } catch (error) {
    // "Unknown option '--wings'. To specify a positional argument …"
    throw new StartupError(`${(error as Error).message.split(". ")[0]}. See: conduit --help`);
  }
}

const isRequired = ({ argument }: Command): boolean => argument !== undefined && !argument.startsWith("[");

const commandFlags = (): string[] => COMMANDS.flatMap(({ flags = {} }) => Object.keys(flags));
