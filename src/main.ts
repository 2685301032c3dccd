#!/usr/bin/env bun
import { parseArgs } from "node:util";
import { migrations } from "../migrations/index.ts";
import packageJson from "../package.json" with { type: "json" };
import { backup, restore } from "./cli/backup.ts";
import { doctor } from "./cli/doctor.ts";
import { health } from "./cli/health.ts";
import { type Config, loadConfig, SETTINGS } from "./config/settings.ts";
import { StartupError } from "./config/startup-error.ts";
import { migrate } from "./db/migrations.ts";
import type { Log } from "./observability/log.ts";
import { loadSize, seed } from "./seed/seed.ts";
import { reachDatabase, serverLog, startServer } from "./server/server.ts";
import { startupLines, startupOutput } from "./server/startup-lines.ts";
import { startWorkers } from "./server/supervisor.ts";
import { runWorker, WORKER_VARIABLE } from "./server/worker.ts";

/** `operand` is what has to stand behind the command's name; `flags` are those that it alone has, each with what it does. */
type Command = {
  what: string;
  operand?: string;
  flags?: Record<string, string>;
  run(config: Config, flags: Record<string, string>, operand: string): Promise<void>;
};

const COMMANDS: Record<string, Command> = {
  serve: { what: "Start the API (npm start)", run: serve },
  migrate: { what: "Bring the database schema up to date, and exit", run: migrateOnly },
  seed: {
    what: "Fill an empty database with demonstration content, or with a load-test data set, and exit",
    flags: {
      articles: "seed: make a load-test data set of so many articles (1000000), instead of demonstration content",
      users: "seed: with so many users; a tenth of the articles unless given",
    },
    run: seedOnly,
  },
  backup: {
    what: "Write everything into one file, also while the server runs",
    operand: "FILE",
    run: (config, _flags, file) => backup(config, file),
  },
  restore: {
    what: "Read such a file into an empty data folder or database",
    operand: "FILE",
    run: (config, _flags, file) => restore(config, file),
  },
  health: { what: "Ask the server of this machine whether it is ready; exit 1 if not", run: health },
  doctor: { what: "Look at everything that a server needs, and say what is wrong", run: doctor },
};

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  console.error(error.message);
  process.exit(1);
}

async function run(args: string[]): Promise<void> {
  const ownFlags = Object.values(COMMANDS).flatMap((command) => Object.keys(command.flags ?? {}));
  const flags = Object.values(SETTINGS).flatMap((setting) => ("flag" in setting ? [setting.flag] : []));
  const { values, positionals } = parse(args, [...flags, ...ownFlags]);
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
  for (const flag of ownFlags) {
    if (flag in given && !(flag in (command.flags ?? {})))
      throw new StartupError(`${name} takes no --${flag}. See: conduit --help`);
  }
  await command.run(loadConfig(process.env, given), given, rest[0] ?? "");
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
  const log = serverLog(config);
  logUncaught(log);
  const worker = process.env[WORKER_VARIABLE];
  if (worker !== undefined && process.send !== undefined) return runWorker(config, Number(worker));
  const say = startupOutput(config);
  const server = await (config.workers === 1 ? startServer(config, say) : startWorkers(config, say));
  for (const line of await startupLines(config, server)) say(line);
  let asked = false;
  const stop = async () => {
    // Asked twice: now.
    if (asked) process.exit(1);
    asked = true;
    say("Stopping …");
    await server.stop();
    process.exit(0);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  if (process.env.npm_lifecycle_event !== undefined) onOrphaned(stop);
}

/** What nobody caught goes to the log whole, and ends the process: nobody knows what it left half done. */
function logUncaught(log: Log): void {
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error: unknown) => {
      log.error({ err: error }, "uncaught error, ending");
      process.exit(1);
    });
  }
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
  const database = await reachDatabase(config, console.log, serverLog(config));
  try {
    const applied = await migrate(database.address, migrations, config.databaseConnectTimeoutMs);
    for (const file of applied) console.log(`Applied migration ${file}`);
    console.log("The schema is up to date.");
  } finally {
    await database.release();
  }
}

async function seedOnly(config: Config, flags: Record<string, string>): Promise<void> {
  const size = loadSize(flags);
  // It may take minutes. An exit, unlike being killed by the signal, takes the embedded PostgreSQL along.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  const database = await reachDatabase(config, console.log, serverLog(config));
  try {
    await migrate(database.address, migrations, config.databaseConnectTimeoutMs);
    const login = await seed(database.address, size, console.log);
    console.log(`Done. Sign in with email ${login.email} and password ${JSON.stringify(login.password)}.`);
  } finally {
    await database.release();
  }
}

function help(): string {
  const commands = Object.entries(COMMANDS).map(
    ([name, { what, operand = "" }]) => `  ${`${name} ${operand}`.padEnd(14)} ${what}`,
  );
  const own = Object.values(COMMANDS).flatMap(({ flags = {} }) =>
    Object.entries(flags).map(([flag, what]) => `  ${`--${flag}`.padEnd(28)} ${what}`),
  );
  const settings = Object.values(SETTINGS).map(
    (setting) =>
      `  ${("flag" in setting ? `--${setting.flag}` : "").padEnd(28)} ${setting.name.padEnd(28)} ${setting.what}${"fallback" in setting ? ` [${setting.fallback}]` : ""}`,
  );
  return `Usage: conduit [command] [flags]

Commands:
${commands.join("\n")}

Flags of one command:
${own.join("\n")}

Settings, by flag or environment variable:
${settings.join("\n")}

  -h, --help     This text
  -v, --version  The version`;
}
