import { afterAll, describe, expect, test } from "bun:test";
import packageJson from "../../package.json" with { type: "json" };
import { conduit, stopCommands } from "../support/command.ts";

afterAll(stopCommands);

describe("an error that the user can correct is one line and exit status 1, without a stack trace", () => {
  const mistakes: [what: string, args: string[], env: Record<string, string>, line: RegExp][] = [
    ["an unknown command", ["fly"], {}, /^Unknown command "fly"\. See: conduit --help$/],
    ["help for an unknown command", ["help", "fly"], {}, /^Unknown command "fly"\. See: conduit --help$/],
    ["a missing argument", ["backup"], {}, /^Usage: conduit backup FILE$/],
    ["a second argument", ["restore", "a", "b"], {}, /^Unexpected argument "b"\. Usage: conduit restore FILE$/],
    [
      "an argument to a command without any",
      ["migrate", "now"],
      {},
      /^Unexpected argument "now"\. Usage: conduit migrate$/,
    ],
    ["an unknown flag", ["serve", "--wings=2"], {}, /^Unknown option '--wings'\. See: conduit --help$/],
    [
      "the flag of another command",
      ["serve", "--articles=100"],
      {},
      /^The command serve has no flag --articles\. See: conduit help serve$/,
    ],
    ["an invalid flag", ["--port=99999"], {}, /--port must be a whole number from 0 to 65535, not "99999"/],
    [
      "an unreachable database",
      ["serve"],
      { DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /^Cannot reach the database "db" at 127\.0\.0\.1:1 as user "me".*Check DATABASE_URL/,
    ],
    [
      "an unreachable database for migrate",
      ["migrate"],
      { DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /^Cannot reach the database/,
    ],
    ["a data folder that is a file", ["serve"], { DATA_DIR: "package.json" }, /is not a folder/],
    [
      "production without a secret",
      ["serve"],
      { NODE_ENV: "production", DATABASE_URL: "postgres://me:secret@127.0.0.1:1/db" },
      /JWT_SECRET must be set in production/,
    ],
  ];
  test.each(mistakes)("%s", async (_what, args, env, line) => {
    const program = conduit(args, env);
    expect(await program.ended).toBe(1);
    expect(program.output().trim()).toMatch(line);
    expect(program.output()).not.toMatch(/^\s+at /m);
    expect(program.output()).not.toContain("secret@");
  });

  test("all invalid settings are reported together", async () => {
    const program = conduit(["serve"], { PORT: "x", DATABASE_STATEMENT_TIMEOUT: "5", JWT_SECRET: "short" });
    expect(await program.ended).toBe(1);
    expect(program.output()).toMatch(/PORT must be.*\n.*DATABASE_STATEMENT_TIMEOUT must be.*\n.*JWT_SECRET must have/);
  });
});

describe("help and version", () => {
  async function outputOf(...args: string[]): Promise<string> {
    // Both work with an invalid configuration.
    const program = conduit(args, { PORT: "x" });
    expect(await program.ended).toBe(0);
    return program.output().trim();
  }

  test("--help lists the commands, their flags and the settings", async () => {
    const help = await outputOf("--help");
    for (const part of ["serve ", "backup FILE", "--articles", "DATA_DIR  --data-dir  [./data]"]) {
      expect(help).toContain(part);
    }
    expect(await outputOf("help")).toBe(help);
    expect(await outputOf("-h")).toBe(help);
  });

  test("--help after a command explains that command", async () => {
    const help = await outputOf("seed", "--help");
    expect(help).toStartWith("Usage: conduit seed");
    expect(help).toContain("--articles");
    expect(await outputOf("help", "seed")).toBe(help);
    expect(await outputOf("backup", "FILE", "--help")).toStartWith("Usage: conduit backup FILE");
  });

  test("--version prints the version of package.json", async () => {
    for (const args of [["--version"], ["-v"], ["version"]]) expect(await outputOf(...args)).toBe(packageJson.version);
  });
});
