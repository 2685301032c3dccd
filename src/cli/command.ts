import type { Config } from "../config/settings.ts";

/** One command of the command line, such as `conduit backup FILE`. */
export type Command = {
  readonly name: string;
  /** One line for `conduit --help`. */
  readonly summary: string;
  /** The argument after the name, as the usage line shows it: `FILE`, or `[COMMAND]` where it is optional. */
  readonly argument?: string;
  /** Flags of this command alone, each with its description. The settings' flags work with every command. */
  readonly flags?: Readonly<Record<string, string>>;
  run(invocation: Invocation): Promise<void>;
};

export type Invocation = {
  /** The argument after the command's name, or "" without one. */
  readonly argument: string;
  /** The values of all flags on the command line by name, without `--`. */
  readonly flags: Readonly<Record<string, string>>;
  /**
   * Reads the configuration. `help` and `version` do not call it, so they work with a broken one.
   * @throws StartupError that lists every invalid setting
   */
  config(): Config;
};

/** As in `conduit backup FILE`. */
export const usage = ({ name, argument }: Command): string =>
  `conduit ${name}${argument === undefined ? "" : ` ${argument}`}`;
