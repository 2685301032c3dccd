import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { secretFromFile } from "../../src/config/secret-file.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { openMailbox } from "../../src/mail/mailbox.ts";
import { conduit, dataFolder, stopCommands } from "../support/command.ts";

const root = mkdtempSync(join(realpathSync(tmpdir()), "conduit-private-"));
const isWindows = process.platform === "win32";
const isRoot = process.getuid?.() === 0;
const NOBODY = { uid: 65_534, gid: 65_534 };
const GOOD = "0123456789abcdef".repeat(4);
afterAll(async () => {
  await stopCommands();
  rmSync(root, { recursive: true, force: true });
}, 60_000);

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(root, "folder-"));
  file = join(folder, "jwt-secret");
});

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const refusal = (use: () => unknown): string => {
  try {
    use();
  } catch (error) {
    expect(error).toBeInstanceOf(StartupError);
    expect((error as Error).message).toMatch(/^[^\n]+$/);
    return (error as Error).message;
  }
  throw new Error("it was accepted");
};
/** Without a umask, each new file has the mode that the program asks for. */
const withoutUmask = async (use: () => unknown): Promise<void> => {
  const umask = process.umask(0);
  try {
    await use();
  } finally {
    process.umask(umask);
  }
};

describe("the secret in a file", () => {
  test("is created once, in whole, and for its owner alone, whatever the umask is", async () => {
    await withoutUmask(() => expect(secretFromFile(file)).toMatch(/^[0-9a-f]{64}$/));
    expect(modeOf(file)).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["jwt-secret"]);
    expect(secretFromFile(file)).toBe(readFileSync(file, "utf8").trim());
  });

  test("is the same for processes that start at the same time", async () => {
    const module = join(import.meta.dir, "../../src/config/secret-file.ts");
    const script = `console.log((await import(${JSON.stringify(module)})).secretFromFile(${JSON.stringify(file)}))`;
    const processes = Array.from({ length: 6 }, () => Bun.spawn([process.execPath, "-e", script]));
    const secrets = await Promise.all(processes.map((process) => process.stdout.text()));
    expect(new Set(secrets)).toEqual(new Set([`${readFileSync(file, "utf8").trim()}\n`]));
  });

  test.each([
    ["five bytes", "12345"],
    ["31 bytes", "x".repeat(31)],
    ["nothing", ""],
    ["five bytes among spaces", `${" ".repeat(40)}12345\n`],
  ])("is refused if it has only %s", (_what, text) => {
    writeFileSync(file, text, { mode: 0o600 });
    expect(refusal(() => secretFromFile(file))).toContain(
      `The secret in ${file} has only ${text.trim().length} bytes, but 32 are the minimum.`,
    );
    expect(readFileSync(file, "utf8")).toBe(text);
  });

  test("is accepted with 32 bytes", () => {
    writeFileSync(file, `${"é".repeat(16)}\n`, { mode: 0o600 });
    expect(secretFromFile(file)).toBe("é".repeat(16));
  });

  test.skipIf(isWindows)("is refused if it is a link, which stays as it is", () => {
    const target = join(folder, "target");
    symlinkSync(target, file);
    expect(refusal(() => secretFromFile(file))).toContain(`${file} is a symbolic link`);
    expect(existsSync(target)).toBe(false);
    writeFileSync(target, GOOD, { mode: 0o600 });
    expect(refusal(() => secretFromFile(file))).toContain(`${file} is a symbolic link`);
  });

  test.skipIf(isWindows).each(["640", "620", "610", "604", "602", "601", "666"])("is refused with mode %s", (mode) => {
    writeFileSync(file, GOOD);
    chmodSync(file, mode);
    expect(refusal(() => secretFromFile(file))).toContain(`Other users can access ${file}`);
  });

  test.skipIf(isWindows)("is refused if it is a folder or a pipe, without waiting for a writer", () => {
    mkdirSync(file, { mode: 0o700 });
    expect(refusal(() => secretFromFile(file))).toContain("is not a file");
    rmSync(file, { recursive: true });
    Bun.spawnSync(["mkfifo", "-m", "600", file]);
    expect(refusal(() => secretFromFile(file))).toContain("is not a file");
  });

  test.skipIf(!isRoot)("of another user is refused, unless root starts in the folder of that user", () => {
    writeFileSync(file, GOOD, { mode: 0o600 });
    chownSync(file, NOBODY.uid, NOBODY.gid);
    expect(refusal(() => secretFromFile(file))).toContain(`${file} belongs to another user (number 65534`);
    chownSync(folder, NOBODY.uid, NOBODY.gid);
    expect(secretFromFile(file)).toBe(GOOD);
    rmSync(file);
    secretFromFile(file);
    expect(statSync(file)).toMatchObject(NOBODY);
  });

  test.skipIf(!isRoot)("of root is refused to another user, readable or not", () => {
    const script = `
      process.setgid(${NOBODY.gid});
      process.setuid(${NOBODY.uid});
      try { secretFromFile(${JSON.stringify(file)}); } catch (error) { console.log(error.message); }`;
    const module = join(import.meta.dir, "../../src/config/secret-file.ts");
    // Loaded as root, who can read the project.
    const load = `const { secretFromFile } = await import(${JSON.stringify(module)});`;
    for (const path of [root, folder]) chmodSync(path, 0o777);
    for (const mode of [0o600, 0o644, 0o666]) {
      writeFileSync(file, GOOD);
      chmodSync(file, mode);
      const { stdout } = Bun.spawnSync([process.execPath, "-e", load + script]);
      expect(stdout.toString()).toContain(`${file} belongs to another user`);
    }
  });

  test("ends the start of a server in one line if somebody has planted it", async () => {
    const dataDir = await dataFolder();
    writeFileSync(join(dataDir, "jwt-secret"), "12345");
    chmodSync(join(dataDir, "jwt-secret"), 0o600);
    const server = conduit(["serve", "--port=0", `--data-dir=${dataDir}`]);
    expect(await server.ended).toBe(1);
    expect(server.output()).toEndWith("the next start creates one, and everyone has to sign in again.\n");
    expect(server.output()).not.toContain("running on");
  });
});

describe.skipIf(isWindows)("the development mailbox", () => {
  const message = { to: "ann@example.com", subject: "Hello", text: "A link", html: "A link" };
  const send = (mailbox: ReturnType<typeof openMailbox>) => mailbox.send(message as Parameters<typeof mailbox.send>[0]);
  let mail: string;
  beforeEach(() => {
    mail = join(folder, "mail");
  });

  test("is its owner's alone to read, with every message, whatever the umask is", async () => {
    await withoutUmask(() => send(openMailbox(mail)));
    expect(modeOf(mail)).toBe(0o700);
    const names = readdirSync(mail);
    expect(names).toEqual([expect.stringMatching(/^[0-9]{13}-[0-9a-f-]{36}\.json$/)]);
    expect(modeOf(join(mail, names[0] ?? ""))).toBe(0o600);
  });

  test("is refused if it is a link, at the start and later", async () => {
    const target = join(folder, "target");
    mkdirSync(target, { mode: 0o700 });
    const opened = openMailbox(mail);
    symlinkSync(target, mail);
    expect(refusal(() => openMailbox(mail))).toContain(`${mail} is a symbolic link`);
    await expect(send(opened)).rejects.toThrow(`${mail} is a symbolic link`);
    expect(readdirSync(target)).toEqual([]);
  });

  test("shows no message that is a link", async () => {
    const mailbox = openMailbox(mail);
    await send(mailbox);
    const [{ name } = { name: "" }] = await mailbox.list();
    writeFileSync(join(folder, "secret"), '"a secret"', { mode: 0o600 });
    rmSync(join(mail, `${name}.json`));
    symlinkSync(join(folder, "secret"), join(mail, `${name}.json`));
    await expect(mailbox.read(name)).rejects.toThrow("is a symbolic link");
  });

  test.each(["750", "705", "707", "770"])("is refused with mode %s", (mode) => {
    mkdirSync(mail);
    chmodSync(mail, mode);
    expect(refusal(() => openMailbox(mail))).toContain(`Other users can access ${mail}`);
  });

  test.skipIf(!isRoot)("of another user is refused", () => {
    mkdirSync(mail, { mode: 0o700 });
    chownSync(mail, NOBODY.uid, NOBODY.gid);
    expect(refusal(() => openMailbox(mail))).toContain(`${mail} belongs to another user`);
  });
});
