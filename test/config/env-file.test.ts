// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what must not be expanded
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadEnvFile, parseEnv } from "../../src/config/env-file.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "conduit-env-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const read = (text: string) => parseEnv(`A=${text}`, ".env").A;

describe("a value in .env", () => {
  test.each([
    // Literal, whatever it contains.
    ["'p$HOME#\"\\n`${A}'", 'p$HOME#"\\n`${A}'],
    ["'a' # comment", "a"],
    ["''", ""],
    ["'two\nlines'", "two\nlines"],
    // Escapes, and nothing else.
    ['"p$HOME # x"', "p$HOME # x"],
    ['"a\\nb\\tc\\"d\\\\e\\$f"', 'a\nb\tc"d\\e$f'],
    ['"C:\\path"', "C:\\path"],
    ['"ends with \\\\"', "ends with \\"],
    ['"two\r\nlines" # comment', "two\nlines"],
    // Without quotes.
    ["abc", "abc"],
    ["  abc  ", "abc"],
    ["abc#def", "abc#def"],
    ["abc #def", "abc"],
    ["#abc", "#abc"],
    ["#abc # comment", "#abc"],
    [" #abc", ""],
    ["  # comment", ""],
    ["", ""],
    ["pa$$word$", "pa$$word$"],
    ["${HOME}", "${HOME}"],
    ["it's", "it's"],
    ["a=b==", "a=b=="],
    ["back\\slash\\n", "back\\slash\\n"],
    ["a b c", "a b c"],
  ])("is read as written: %s", (text, value) => {
    expect(read(text)).toBe(value);
  });

  test("may follow spaces and export, and comments and empty lines stand between", () => {
    const text = "\ufeff# first\r\n\r\nexport A = 1\r\n  B=2\n#C=3\n\tD_2='4'\n";
    expect(parseEnv(text, ".env")).toEqual({ A: "1", B: "2", D_2: "4" });
  });

  test.each([
    ["A=1\nnonsense hunter2", "line 2: is not NAME=value"],
    ["A-B=hunter2", "line 1: is not NAME=value"],
    ["=hunter2", "line 1: is not NAME=value"],
    ["A='hunter2", "line 1: has ' without its end"],
    ['A="hunter2\nB=1', 'line 1: has " without its end'],
    ["A='hunter'2", "line 1: has ' without its end, or text behind the end"],
    ["A='hunter'#2", "line 1: has ' without its end, or text behind the end"],
    ['A="hunter"#2', 'line 1: has " without its end, or text behind the end'],
  ])("that is ambiguous is an error without the value: %j", (text, message) => {
    const parsed = () => parseEnv(text, ".env");
    expect(parsed).toThrow(message);
    expect(parsed).not.toThrow("hunter");
  });

  test("does not replace a variable of the environment, and a missing file changes nothing", async () => {
    await Bun.write(join(folder, "some.env"), "A=file\nB=file\nC=file\n");
    const env: Record<string, string | undefined> = { A: "environment", B: "" };
    loadEnvFile(join(folder, "some.env"), env);
    loadEnvFile(join(folder, "missing.env"), env);
    expect(env).toEqual({ A: "environment", B: "", C: "file" });
  });
});

describe("Bun", () => {
  const root = join(import.meta.dir, "../..");

  /** What a program prints in the folder of this test, which has a `.env`. */
  async function printed(...command: string[]): Promise<string> {
    const env = { PATH: process.env.PATH ?? "", HOME: "/root" };
    const child = Bun.spawn(command, { cwd: folder, env, stdout: "pipe", stderr: "pipe" });
    return (await child.stdout.text()) + (await child.stderr.text());
  }

  test("does not read .env before us: by bunfig.toml, and by the first line of src/main.ts", async () => {
    const script = join(folder, "print.ts");
    await Bun.write(script, "console.log(process.env.SECRET)");
    await Bun.write(join(folder, ".env"), "SECRET='p$HOME'\n");
    // This is what Bun makes of a value in single quotes. Should that change, we need less.
    expect(await printed(process.execPath, script)).toBe("p/root\n");
    const firstLine = (await Bun.file(join(root, "src/main.ts")).text()).split("\n")[0] ?? "";
    const [program, ...flags] = firstLine.replace("#!/usr/bin/env -S ", "").split(" ");
    expect(program).toBe("bun");
    expect(await printed(process.execPath, ...flags, script)).toBe("undefined\n");
    await Bun.write(
      join(folder, "bunfig.toml"),
      (await Bun.file(join(root, "bunfig.toml")).text()).split("[test]")[0] ?? "",
    );
    expect(await printed(process.execPath, script)).toBe("undefined\n");
  });
});
