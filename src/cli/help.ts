import { SETTINGS } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { type Command, usage } from "./command.ts";

/** @param commands the list that this command is part of */
export function helpCommand(commands: () => readonly Command[]): Command {
  return {
    name: "help",
    argument: "[COMMAND]",
    summary: "Show this help, or that of one command",
    async run({ argument: name }) {
      const command = commands().find((candidate) => candidate.name === name);
      if (command === undefined && name !== "") {
        throw new StartupError(`Unknown command "${name}". See: conduit --help`);
      }
      console.log(command === undefined ? overview(commands()) : helpFor(command));
    },
  };
}

function overview(commands: readonly Command[]): string {
  return `Usage: conduit [COMMAND] [FLAGS]

Commands (without one, conduit runs serve):
${commands.map((command) => row(usage(command).replace("conduit ", ""), command.summary)).join("\n")}

Flags of a single command:
${commands.flatMap((command) => flagRows(command, `${command.name}: `)).join("\n")}

Settings, by environment variable, flag, or a line in .env:
${settings()}

  -h, --help     Show this help
  -v, --version  Show the version`;
}

function helpFor(command: Command): string {
  const own = flagRows(command);
  return `Usage: ${usage(command)} [FLAGS]

${command.summary}.${own.length === 0 ? "" : `\n\nFlags:\n${own.join("\n")}`}

For the settings, see: conduit --help`;
}

function flagRows({ flags = {} }: Command, prefix = ""): string[] {
  return Object.entries(flags).map(([flag, description]) => row(`--${flag}=N`, `${prefix}${description}`));
}

/** Two lines each: the names and the default, then the description. */
function settings(): string {
  return Object.values(SETTINGS)
    .map((setting) => {
      const flag = "flag" in setting ? `  --${setting.flag}` : "";
      const fallback = "fallback" in setting ? `  [${setting.fallback}]` : "";
      return `  ${setting.name}${flag}${fallback}\n      ${setting.what.replaceAll("`", "")}`;
    })
    .join("\n");
}

const row = (name: string, description: string): string => `  ${name.padEnd(16)} ${description}`;
